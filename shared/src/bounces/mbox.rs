//! Files with several messages.

/// The messages of a file: an mbox gives each of its own, anything else one.
#[must_use]
pub fn messages(raw: &[u8]) -> Vec<&[u8]> {
    if !raw.starts_with(b"From ") {
        return vec![raw];
    }
    let mut starts = vec![0];
    let mut blank = false;
    // "Your message was:", and then the message as it was stored: quoted, not the next one.
    let mut announced = false;
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if blank && !announced && is_envelope(line) {
            starts.push(at);
        }
        blank = line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if !blank {
            announced = line.trim_ascii_end().ends_with(b":");
        }
        at += line.len();
    }
    starts.push(raw.len());
    starts.windows(2).map(|pair| &raw[pair[0]..pair[1]]).collect()
}

/// `From ada@example.com Thu Apr 29 23:34:45 2015`.
fn is_envelope(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let time = rest.windows(6).any(|w| w[0] == b':' && w[3] == b':' && [1, 2, 4, 5].iter().all(|i| w[*i].is_ascii_digit()));
    time && rest.len() < 300
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_its_messages() {
        let one = b"From a@example.com Thu Apr 29 23:34:45 2015\nSubject: x\n\nFrom here on\n\n";
        let two = b"From b@example.com Thu Apr 29 23:34:46 2015\nSubject: y\n\ny\n";
        let both = [one.as_slice(), two].concat();
        assert_eq!(messages(&both), [one.as_slice(), two]);
        let quoting = b"From a@example.com Thu Apr 29 23:34:45 2015\nSubject: x\n\nYour mail:\n\nFrom b@example.com Thu Apr 29 23:34:46 2015\nTo: x\n";
        assert_eq!(messages(quoting), [quoting.as_slice()]);
        assert_eq!(messages(b"Subject: x\n\nFrom a@example.com Thu Apr 29 23:34:45 2015\n").len(), 1);
    }
}
