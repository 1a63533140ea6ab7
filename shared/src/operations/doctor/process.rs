//! What the system gives this process: open files, ports, room on its disks.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::Check;

const PATIENCE: Duration = Duration::from_secs(2);
const GIB: u64 = 1 << 30;

/// Whether as many files may be open as this process needs.
#[must_use]
pub fn open_files(needed: u64) -> Check {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) => files(limit, needed),
        None => Check::ok("open files", "without a limit"),
    }
}

fn files(limit: u64, needed: u64) -> Check {
    let says = format!("{limit} may be open, about {needed} are needed");
    let mend = "raise the limit: LimitNOFILE= of the unit, or ulimit -n";
    if limit < needed {
        Check::fail("open files", says, mend)
    } else if limit < needed * 2 {
        Check::warn("open files", says, mend)
    } else {
        Check::ok("open files", says)
    }
}

/// The room that is left on the disk of a folder.
pub(super) fn disk(name: &str, folder: &Path, mend: &str) -> Check {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => room(name, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, mend),
        Err(error) => Check::warn(name, format!("{} cannot be asked: {error}", folder.display()), "look at the folder's disk"),
    }
}

/// The rule: a tenth or a gibibyte, whichever is less, and never below 100 MiB.
fn room(name: &str, free: u64, size: u64, mend: &str) -> Check {
    let says = format!("{:.1} GiB of {:.1} GiB are free", gib(free), gib(size));
    if free < GIB / 10 {
        Check::fail(name, says, mend)
    } else if free < GIB.min(size / 10) {
        Check::warn(name, says, mend)
    } else {
        Check::ok(name, says)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

/// Whether the address is free, or one of ours serves it.
pub async fn listener(setting: &str, address: &str) -> Check {
    match TcpListener::bind(address).await {
        Ok(_) => Check::ok(setting, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match tokio::time::timeout(PATIENCE, is_ours(address)).await {
            Ok(Ok(true)) => Check::ok(setting, format!("{address} is served by a process of ours")),
            _ => Check::fail(
                setting,
                format!("{address} is taken by another program"),
                format!("correct {setting}, or end that program"),
            ),
        },
        Err(error) => Check::fail(setting, format!("{address} cannot be listened on: {error}"), format!("correct {setting}")),
    }
}

async fn is_ours(address: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4 << 20).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    // The front has no metrics, but its problem documents carry our request ids.
    Ok(answer.contains("jobs_ready") || answer.contains("x-request-id"))
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_full_disk_fails_before_it_is_full() {
        assert_eq!(
            [GIB / 20, GIB / 2, 2 * GIB].map(|free| room("disk", free, 100 * GIB, "make room").verdict),
            [Verdict::Fail, Verdict::Warn, Verdict::Ok]
        );
    }

    #[test]
    fn too_few_files_fail_and_few_warn() {
        assert_eq!([100, 400, 1_000].map(|limit| files(limit, 300).verdict), [Verdict::Fail, Verdict::Warn, Verdict::Ok]);
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_fails() {
        let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = other.local_addr().expect("an address").to_string();
        let answers = tokio::spawn(async move {
            let (mut stream, _) = other.accept().await.expect("a caller");
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nsomething else").await.expect("written");
        });
        assert_eq!(listener("api.listen", &address).await.verdict, Verdict::Fail);
        answers.await.expect("answered");
        assert_eq!(listener("api.listen", "127.0.0.1:0").await.verdict, Verdict::Ok);
        assert_eq!(listener("api.listen", "nowhere").await.verdict, Verdict::Fail);
    }
}
