use std::path::PathBuf;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use uuid::Uuid;

use super::*;
use crate::settings::Settings;

/// A private folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("store_{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn disk(folder: &Folder) -> Store {
    let mut settings = Settings::sample().store;
    settings.url = format!("file://{}", folder.0.join("made/when/needed").display());
    Store::from_settings(&settings).expect("a store")
}

/// A server that checks signatures, on a port of its own, and a store that talks to it with `secret`.
async fn server(folder: &Folder, secret: &str) -> Store {
    std::fs::create_dir_all(folder.0.join("mail")).expect("a bucket");
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&folder.0).expect("a file system"));
    service.set_auth(SimpleAuth::from_single("rider", "the right secret"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let http = Builder::new(TokioExecutor::new());
                drop(http.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    let mut settings = Settings::sample().store;
    settings.url = "s3://mail/objects".to_owned();
    settings.s3_endpoint = format!("http://{address}");
    settings.s3_access_key = "rider".to_owned().into();
    settings.s3_secret_key = secret.to_owned().into();
    Store::from_settings(&settings).expect("a store")
}

async fn put(store: &Store, key: &str, parts: &[Bytes]) {
    let mut writer = store.writer(key);
    for part in parts {
        writer.write(part.clone()).await.expect("written");
    }
    writer.finish().await.expect("finished");
}

async fn keeps_small_objects(store: &Store) {
    put(store, "imports/a/small.csv", &[Bytes::from_static(b"email\n"), Bytes::from_static(b"a@b.test\n")]).await;
    assert_eq!(store.read_all("imports/a/small.csv").await.expect("read"), b"email\na@b.test\n");
    assert_eq!(store.size("imports/a/small.csv").await.expect("asked"), Some(15));
    let end: Vec<Bytes> = store.read("imports/a/small.csv", 6).await.expect("read").try_collect().await.expect("read");
    assert_eq!(end.concat(), b"a@b.test\n");
    let behind: Vec<Bytes> = store.read("imports/a/small.csv", 15).await.expect("read").try_collect().await.expect("read");
    assert!(behind.is_empty());
}

async fn keeps_objects_of_many_parts(store: &Store) {
    let part = Bytes::from((0..1_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let parts = vec![part; 12];
    put(store, "imports/large.csv", &parts).await;
    assert_eq!(store.size("imports/large.csv").await.expect("asked"), Some(12_000_000));
    assert!(store.read_all("imports/large.csv").await.expect("read") == parts.concat());
}

async fn forgets_what_is_deleted_or_abandoned(store: &Store) {
    put(store, "gone", &[Bytes::from_static(b"x")]).await;
    store.delete("gone").await.expect("deleted");
    store.delete("gone").await.expect("deleted twice");
    assert_eq!(store.size("gone").await.expect("asked"), None);
    assert!(store.read("gone", 0).await.is_err());
    for bytes in [10, 6_000_000] {
        let mut writer = store.writer("never");
        writer.write(Bytes::from(vec![b'x'; bytes])).await.expect("written");
        writer.abort().await.expect("aborted");
        assert_eq!(store.size("never").await.expect("asked"), None);
    }
}

async fn behaves(store: &Store) {
    keeps_small_objects(store).await;
    keeps_objects_of_many_parts(store).await;
    forgets_what_is_deleted_or_abandoned(store).await;
}

#[tokio::test]
async fn a_folder_of_this_machine_is_a_store() {
    let folder = Folder::new();
    behaves(&disk(&folder)).await;
}

#[tokio::test]
async fn an_s3_server_is_a_store() {
    let folder = Folder::new();
    behaves(&server(&folder, "the right secret").await).await;
    assert!(folder.0.join("mail/objects/imports/large.csv").is_file(), "the prefix is part of the key");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_the_server() {
    let folder = Folder::new();
    let store = server(&folder, "a wrong secret").await;
    let mut writer = store.writer("x");
    writer.write(Bytes::from_static(b"x")).await.expect("buffered");
    let error = writer.finish().await.expect_err("the signature is checked").to_string();
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn an_address_of_no_use_is_named() {
    let mut settings = Settings::sample().store;
    for (url, reason) in [("ftp://x/y", "has the scheme ftp"), ("objects", "is not an address"), ("s3:///x", "names no bucket")] {
        settings.url = url.to_owned();
        let error = Store::from_settings(&settings).expect_err("refused").to_string();
        assert!(error.contains(url) && error.contains(reason), "{error}");
    }
}
