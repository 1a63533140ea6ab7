use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mochila_deploy_checks::{files, image};

use crate::{house::House, programs};

fn word(name: &str) -> Vec<String> {
    image::instructions().into_iter().filter(|instruction| instruction.word == name).map(|instruction| instruction.rest).collect()
}

/// Whether something that is copied holds this path.
fn is_copied(path: &Path) -> bool {
    image::copies(&image::instructions()).iter().flat_map(|(sources, _)| sources).any(|source| path.starts_with(source))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn it_is_built_by_the_toolchain_of_the_checkout_and_runs_as_nobody() {
    let channel = files::read("rust-toolchain.toml");
    let channel = channel.split('"').nth(1).expect("a channel");
    let from = word("FROM");
    assert!(from[0].starts_with(&format!("rust:{channel}-")), "{from:?}");
    for base in from.iter().filter(|base| !base.starts_with("scratch")) {
        assert!(base.split(' ').next().and_then(|name| name.split_once(':')).is_some_and(|(_, tag)| tag.contains('.')), "{base}");
    }
    assert_eq!(word("USER"), ["10001:10001"]);
    assert!(word("RUN").iter().filter(|line| line.contains("cargo build")).all(|line| line.contains("--locked")));
}

#[test]
fn what_it_copies_is_there_and_passes_the_ignore_file() {
    let ignore = files::read("deploy/Dockerfile.dockerignore");
    let let_through: Vec<&Path> = ignore.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    for source in image::copies(&image::instructions()).iter().flat_map(|(sources, _)| sources) {
        assert!(files::root().join(source).exists(), "{source}");
        assert!(let_through.iter().any(|path| Path::new(source).starts_with(path)), "Dockerfile.dockerignore holds {source} back");
    }
}

#[test]
fn it_copies_every_file_that_the_sources_include() {
    for room in ["shared/src", "api/src", "worker/src"] {
        for source in sources(&files::root().join(room)) {
            let folder = source.parent().expect("a folder");
            let text = fs::read_to_string(&source).unwrap_or_default();
            for include in ["include_str!(\"", "include_bytes!(\"", "migrate!(\""] {
                for part in text.split(include).skip(1) {
                    let named = part.split('"').next().expect("a path");
                    // migrate! counts from its crate, the others from their file.
                    let base = if include.starts_with("migrate") { files::root().join("shared") } else { folder.to_owned() };
                    let path =
                        base.join(named).canonicalize().unwrap_or_else(|error| panic!("{}: {named}: {error}", source.display()));
                    let path = path.strip_prefix(files::root()).expect("within the checkout").to_owned();
                    assert!(
                        is_copied(&path),
                        "{} includes {}, which the image's build does not have",
                        source.display(),
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn its_layer_of_packages_has_every_manifest_that_cargo_asks_for() {
    let folder = std::env::temp_dir().join(format!("mochila-layer-{}", uuid::Uuid::now_v7().simple()));
    fs::create_dir(&folder).expect("a folder");
    // As the Dockerfile does it: the copies before the first build, then its commands up to that build.
    let first_build =
        image::instructions().iter().position(|one| one.word == "RUN" && one.rest.contains("cargo build")).expect("a build");
    let before = &image::instructions()[..=first_build];
    for (sources, target) in image::copies(before) {
        for source in sources {
            let into = folder.join(&target);
            fs::create_dir_all(&into).expect("a folder");
            let name = Path::new(&source).file_name().expect("a name");
            fs::copy(files::root().join(&source), into.join(name)).expect("copied");
        }
    }
    let (stubs, _) = before[first_build].rest.split_once("&& cargo build").expect("what comes before the build");
    let made = Command::new("sh").args(["-euc", stubs]).current_dir(&folder).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Of this platform's packages alone: those of others were never fetched.
    let cargo = Command::new(env!("CARGO")).args(["tree", "--locked", "--offline", "--workspace"]).current_dir(&folder).output();
    let cargo = cargo.expect("cargo");
    fs::remove_dir_all(&folder).expect("removed");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
}

#[test]
fn its_entrypoint_becomes_the_server_or_any_command() {
    let script = files::root().join("deploy/image/entrypoint");
    let folder = programs::path("mochila-api").parent().expect("a folder").to_owned();
    let run = |words: &[&str]| {
        let output = Command::new(&script).args(words).env("PATH", format!("{}:/usr/bin:/bin", folder.display())).output();
        String::from_utf8(output.expect("it starts").stdout).expect("text")
    };
    assert_eq!(run(&["api", "--help"]), programs::help("mochila-api", &[]));
    assert_eq!(run(&["worker", "--help"]), programs::help("mochila-worker", &[]));
    assert_eq!(run(&["--help"]), programs::help("mochila-api", &[]));
    assert_eq!(run(&["api", "create-admin", "--help"]), programs::help("mochila-api", &["create-admin"]));
    assert_eq!(run(&["echo", "hello"]), "hello\n");
    assert_eq!(word("ENTRYPOINT"), ["[\"entrypoint\"]"]);
    assert_eq!(word("CMD"), ["[\"api\"]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_health_check_sees_a_live_server_and_a_dead_one() {
    let house = House::new().await;
    let script = files::root().join("deploy/image/healthcheck");
    let healthy = |part: &str, address: &str| {
        let variable = format!("MOCHILA_{}__METRICS_LISTEN", part.to_uppercase());
        Command::new(&script).arg(part).env(variable, address).output().expect("it starts").status.success()
    };
    let (api, worker) = (house.api().await, house.worker().await);
    assert!(healthy("api", &api.metrics) && healthy("worker", &worker.metrics));
    let (gone, address) = (worker.metrics.clone(), worker);
    address.kill().await;
    assert!(!healthy("worker", &gone));
}

#[test]
fn its_ports_are_those_that_it_listens_on() {
    let ports: Vec<String> =
        image::environment().iter().map(|(_, value)| value.rsplit(':').next().expect("a port").to_owned()).collect();
    assert_eq!(word("EXPOSE"), [ports.join(" ")]);
}
