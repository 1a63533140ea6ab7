//! Tells one body from another, piece by piece, so that an upload need not be held. The boundary of a form changes each time that the same
//! form is sent, so it does not count; what stands behind the last one is never read by some, so it does not either.

use aws_lc_rs::digest::{Context, SHA256};
use memchr::memmem::Finder;

/// Bytes of a fingerprint.
pub const LENGTH: usize = 32;

/// A body on its way.
pub struct Fingerprint {
    digest: Context,
    boundary: Option<Finder<'static>>,
    held: Vec<u8>,
    over: bool,
}

impl Fingerprint {
    /// Of a body without, or with, a boundary.
    #[must_use]
    pub fn new(boundary: Option<&str>) -> Self {
        let boundary = boundary.filter(|text| !text.is_empty()).map(|text| Finder::new(text).into_owned());
        Self { digest: Context::new(&SHA256), boundary, held: Vec::new(), over: false }
    }

    /// Of all these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Vec<u8> {
        let mut whole = Self::new(None);
        whole.update(body);
        whole.finish()
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let Some(boundary) = &self.boundary else { return self.digest.update(bytes) };
        if self.over {
            return;
        }
        let length = boundary.needle().len();
        self.held.extend_from_slice(bytes);
        let mut begin = 0;
        let keep = loop {
            match boundary.find(&self.held[begin..]) {
                None => break self.held.len().saturating_sub(length - 1).max(begin),
                // Two bytes more tell whether it is the last one.
                Some(at) if self.held.len() < begin + at + length + 2 => {
                    break begin + at;
                }
                Some(at) => {
                    self.digest.update(&self.held[begin..begin + at]);
                    begin += at + length;
                    if self.held[begin..].starts_with(b"--") {
                        self.over = true;
                        self.held.clear();
                        return;
                    }
                }
            }
        };
        self.digest.update(&self.held[begin..keep]);
        self.held.drain(..keep);
    }

    /// The fingerprint: [`LENGTH`] bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.digest.update(&self.held);
        self.digest.finish().as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(boundary: &str, file: &str) -> Vec<u8> {
        format!("--{boundary}\r\nname=a\r\n\r\n{file}\r\n--{boundary}\r\nname=b\r\n\r\n1\r\n--{boundary}--\r\n").into_bytes()
    }

    fn in_pieces(body: &[u8], boundary: &str, size: usize) -> Vec<u8> {
        let mut fingerprint = Fingerprint::new(Some(boundary));
        body.chunks(size).for_each(|piece| fingerprint.update(piece));
        fingerprint.finish()
    }

    proptest! {
        #[test]
        fn the_same_form_has_the_same_fingerprint_however_it_is_cut(file in "[a-z\r\n-]{0,80}", one in 1_usize..40, two in 1_usize..40) {
            let edge = in_pieces(&form("Xedge1", &file), "Xedge1", one);
            let other = in_pieces(&form("Yboundary22", &file), "Yboundary22", two);
            prop_assert_eq!(&edge, &other);
            prop_assert_ne!(&edge, &in_pieces(&form("Xedge1", &format!("{file}x")), "Xedge1", one));
        }
    }

    #[test]
    fn what_follows_the_last_boundary_does_not_count() {
        let body = form("edge", "ada");
        let cut = &body[..body.len() - 2];
        assert_eq!(in_pieces(&body, "edge", 1000), in_pieces(cut, "edge", 7));
        assert_ne!(in_pieces(&body, "edge", 1000), in_pieces(&body[..body.len() - 4], "edge", 1000));
    }

    #[test]
    fn a_body_without_a_boundary_counts_as_it_is() {
        assert_eq!(Fingerprint::of(b"{}").len(), LENGTH);
        assert_ne!(Fingerprint::of(b"{}"), Fingerprint::of(b"{ }"));
    }
}
