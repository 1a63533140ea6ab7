//! A workspace's sending domain with keys of this test's own, and dkimpy, which shares no line with what signs.

use std::collections::BTreeMap;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use shared::{testing::Stage, vault::Vault};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// What DNS would say, by name.
pub type Records = BTreeMap<String, String>;

/// A verified domain with an active key of each of these algorithms, and one that is retiring.
pub async fn domain(stage: &Stage, workspace_id: Uuid, domain: &str, algorithms: &[&str]) -> Records {
    let id = stage.verified_domain(workspace_id, domain).await;
    let mut records = Records::new();
    let keys = algorithms.iter().map(|algorithm| (*algorithm, "active")).chain([("rsa-sha256", "retiring")]);
    for (number, (algorithm, state)) in keys.enumerate() {
        let key_id = Uuid::now_v7();
        let selector = format!("s{number}");
        let (pkcs8, public) = if algorithm == "rsa-sha256" { rsa() } else { ed25519() };
        let vault = Vault::from_settings(&stage.settings.secrets).expect("a key");
        let sealed = vault.seal(&pkcs8, key_id.as_bytes()).expect("sealed");
        let sealed: String = sealed.iter().map(|octet| format!("{octet:02x}")).collect();
        stage
            .arrange(format!(
                "INSERT INTO dkim_keys (id, sending_domain_id, selector, algorithm, private_key_sealed, public_key, state)
                 VALUES ('{key_id}', '{id}', '{selector}', '{algorithm}', '\\x{sealed}', '{public}', '{state}')"
            ))
            .await;
        let kind = algorithm.split('-').next().unwrap_or_default();
        records.insert(format!("{selector}._domainkey.{domain}"), format!("v=DKIM1; k={kind}; p={public}"));
    }
    records
}

fn rsa() -> (Vec<u8>, String) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("its form");
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("its form");
    (private.as_ref().to_vec(), STANDARD.encode(public.as_ref()))
}

fn ed25519() -> (Vec<u8>, String) {
    let key = Ed25519KeyPair::generate().expect("a key");
    (key.to_pkcs8().expect("its form").as_ref().to_vec(), STANDARD.encode(key.public_key().as_ref()))
}

/// For each mail its signatures from the top, as dkimpy finds them: algorithm, and true or what is wrong. None: it is left out.
pub async fn verified(records: &Records, mails: &[Vec<u8>]) -> Option<Vec<Vec<(String, Value)>>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where python has dkimpy is not a setting of the product; deploy/local test says it"
    )]
    let Ok(python) = std::env::var("DKIMPY_PYTHON") else {
        eprintln!("not verified by dkimpy: DKIMPY_PYTHON is not set; deploy/local test sets it");
        return None;
    };
    let mails: Vec<String> = mails.iter().map(|mail| STANDARD.encode(mail)).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dkimpy/verify.py");
    let mut child = tokio::process::Command::new(python)
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(json!({ "records": records, "mails": mails }).to_string().as_bytes()).await.expect("it reads");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "verify.py ended with {}", output.status);
    Some(serde_json::from_slice(&output.stdout).expect("its answer"))
}
