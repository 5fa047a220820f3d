//! What is acknowledged outlives the disk's hardships: no room, no right to write, a log that
//! is torn, cut short or damaged.

use std::{collections::HashSet, os::unix::fs::chown, path::Path};

use hookmill_tests::{
    Client, PATIENCE, Receiver, Server,
    hardship::{Circumstances, Hardship, beside, hookmill, said},
};
use rlimit::{INFINITY, Resource};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The id of an event that was taken, or the problem for which it was not.
async fn publish(client: &Client, number: usize, bytes: usize) -> Result<String, Value> {
    let payload = json!({"n": number, "filling": "x".repeat(bytes)});
    let body = json!({"type": "tick", "payload": payload}).to_string();
    let answer = client.send("POST", "/v1/events", JSON, body).await;
    match answer.status {
        202 => Ok(answer.json()["id"].as_str().expect("an id").to_owned()),
        _ => Err(answer.json()),
    }
}

async fn publish_some(client: &Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(publish(client, number, 500).await.expect("it is taken"));
    }
    ids
}

/// Publishes until the server says that it cannot; answers what it took and what it said.
async fn publish_until_refused(client: &Client) -> (Vec<String>, Value) {
    let mut taken = Vec::new();
    for number in 0..5_000 {
        match publish(client, number, 20_000).await {
            Ok(id) => taken.push(id),
            Err(problem) => return (taken, problem),
        }
    }
    panic!("it takes everything");
}

async fn are_there(client: &Client, ids: &[String]) {
    for id in ids {
        client.get(&format!("/v1/events/{id}")).await.expect(200);
    }
}

/// That each of these events arrived.
async fn arrived(receiver: &Receiver, path: &str, ids: &[String]) {
    receiver
        .wait_until(path, |found| {
            let seen: HashSet<_> = found.iter().map(|r| r.header("hookmill-event-id")).collect();
            ids.iter().all(|id| seen.contains(id.as_str()))
        })
        .await;
}

async fn check(folder: &Path) -> (bool, String) {
    let database = beside(folder, "");
    let output =
        hookmill(&["check", "--database", database.to_str().expect("the path is text")]).await;
    (output.status.success(), said(&output))
}

/// Limits the size of the files that a process may write. What its limit may be stays.
fn limit_files(pid: u32, bytes: u64) {
    let pid = i32::try_from(pid).expect("process ids are small");
    let (mut soft, mut hard) = (0, 0);
    rlimit::prlimit(pid, Resource::FSIZE, None, Some((&mut soft, &mut hard)))
        .expect("a limit can be asked for");
    rlimit::prlimit(pid, Resource::FSIZE, Some((bytes.min(hard), hard)), None)
        .expect("a limit can be set");
}

#[tokio::test]
async fn where_files_may_not_grow_nothing_taken_is_lost_and_it_goes_on_by_itself() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/full"), &["tick"], &json!([])).await;
    let mut taken = publish_some(&client, 20).await;
    let log = std::fs::metadata(beside(server.folder(), "-wal")).unwrap().len();
    limit_files(server.pid(), log + (1 << 20));
    let (more, problem) = publish_until_refused(&client).await;
    taken.extend(more);
    assert_eq!(problem["type"], "https://hookmill.dev/problems/storage-unavailable", "{problem}");
    assert_eq!(
        (problem["status"].as_u64(), problem["reason"].as_str()),
        (Some(503), Some("failing"))
    );
    // What is there can still be read, and is still sent.
    are_there(&client, &taken).await;
    arrived(&receiver, "/full", &taken).await;

    limit_files(server.pid(), INFINITY);
    taken.extend(publish_some(&client, 20).await);
    arrived(&receiver, "/full", &taken).await;
    client.wait_for("/v1/deliveries?state=delivering", |list| list["data"] == json!([])).await;
    server.kill().await;
    server.restart().await;
    are_there(&server.client(), &taken).await;
    assert!(server.stop().await.success());
    let (sound, text) = check(server.folder()).await;
    assert!(sound, "{text}");
}

/// Whether this machine lets us have file systems of our own.
async fn has_file_systems() -> bool {
    let tried = tokio::process::Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    timeout(PATIENCE, tried)
        .await
        .is_ok_and(|tried| tried.is_ok_and(|tried| tried.status.success()))
}

#[tokio::test]
async fn on_a_full_disk_nothing_taken_is_lost_and_it_goes_on_by_itself() {
    if !has_file_systems().await {
        println!("not shown here: file systems of one's own need user namespaces");
        return;
    }
    let folder = TempDir::new().unwrap();
    let disk = "mount -t tmpfs -o size=7m none \"$0\" && head -c 4000000 /dev/zero >\"$0/filling\" && exec \"$@\"";
    let mut through = ["unshare", "-rm", "sh", "-c", disk].map(Into::into).to_vec();
    through.push(folder.path().into());
    let circumstances = Circumstances { through, user: None };
    let server = Hardship::begin(folder.path(), &circumstances).await.expect("it starts");
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/disk"), &["tick"], &json!([])).await;
    let (mut taken, problem) = publish_until_refused(&client).await;
    assert_eq!((problem["status"].as_u64(), problem["reason"].as_str()), (Some(503), Some("full")));
    assert!(!taken.is_empty());
    are_there(&client, &taken).await;
    let backup = client.send("POST", "/v1/backup", &[], "").await;
    assert_eq!((backup.status, backup.problem().as_str()), (503, "storage-unavailable"));

    // Its disk, seen from here.
    let inside = format!("/proc/{}/root{}", server.pid(), folder.path().display());
    let inside = Path::new(&inside);
    assert!(!inside.join("hookmill.db-backup").exists(), "nothing half-made stays");
    std::fs::remove_file(inside.join("filling")).expect("room can be made");
    taken.extend(publish_some(&client, 20).await);
    are_there(&client, &taken).await;
    arrived(&receiver, "/disk", &taken).await;
    server.kill().await;
}

#[tokio::test]
async fn a_database_that_may_not_be_written_is_said_to_be_so_at_the_start() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    // The superuser may write everything.
    let nobody = 65_534;
    let mut circumstances = Circumstances::default();
    if chown(folder.path(), Some(nobody), Some(nobody)).is_ok() {
        circumstances.user = Some(nobody);
    }
    let server = Hardship::begin(folder.path(), &circumstances).await.expect("it starts");
    server.client().event_type("tick").await;
    server.kill().await;
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&beside(folder.path(), ""), 0o400);
    let error =
        Hardship::begin(folder.path(), &circumstances).await.expect_err("it does not start");
    assert!(error.contains("cannot open the database") && error.contains("read-only"), "{error}");
    allow(&beside(folder.path(), ""), 0o600);
    allow(&beside(folder.path(), "-lock"), 0o400);
    let error =
        Hardship::begin(folder.path(), &circumstances).await.expect_err("it does not start");
    assert!(error.contains("hookmill.db-lock: Permission denied"), "{error}");
    allow(&beside(folder.path(), "-lock"), 0o600);
    let server = Hardship::begin(folder.path(), &circumstances).await.expect("it starts again");
    server.client().get("/v1/event-types/tick").await.expect(200);
    server.kill().await;
}

/// A database as a killed server leaves it: its events are in the log.
async fn killed() -> (Server, Vec<String>) {
    let mut server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let ids = publish_some(&client, 40).await;
    server.kill().await;
    assert!(
        std::fs::metadata(beside(server.folder(), "-wal")).expect("there is a log").len() > 100_000
    );
    (server, ids)
}

#[tokio::test]
async fn what_a_power_cut_leaves_half_written_costs_nothing_that_was_acknowledged() {
    let (mut server, ids) = killed().await;
    let path = beside(server.folder(), "-wal");
    let log = std::fs::read(&path).unwrap();
    // A frame of which half arrived, and one of which only its place did.
    let torn = [&log[32..32 + 4_000], &[0; 9_000][..], &[0xA5; 3_000][..]].concat();
    std::fs::write(&path, [&log[..], &torn[..]].concat()).unwrap();
    std::fs::remove_file(beside(server.folder(), "-shm")).unwrap();
    let (sound, text) = check(server.folder()).await;
    assert!(sound, "{text}");
    server.restart().await;
    are_there(&server.client(), &ids).await;
    publish_some(&server.client(), 3).await;
}

#[tokio::test]
async fn a_log_that_is_cut_short_is_read_up_to_there() {
    let (mut server, ids) = killed().await;
    let path = beside(server.folder(), "-wal");
    let log = std::fs::read(&path).unwrap();
    std::fs::write(&path, &log[..log.len() - 10_000]).unwrap();
    server.restart().await;
    let client = server.client();
    are_there(&client, &ids[..35]).await;
    assert_eq!(client.get(&format!("/v1/events/{}", ids[39])).await.status, 404);
    assert!(server.stop().await.success());
    let (sound, text) = check(server.folder()).await;
    assert!(sound, "{text}");
}

#[tokio::test]
async fn a_log_that_is_damaged_is_refused_with_a_way_on() {
    let (mut server, ids) = killed().await;
    let folder = server.folder().to_path_buf();
    let path = beside(&folder, "-wal");
    let mut log = std::fs::read(&path).unwrap();
    let middle = log.len() * 3 / 4;
    log[middle] ^= 0x40;
    std::fs::write(&path, &log).unwrap();
    let error = Hardship::begin(&folder, &Circumstances::default()).await.expect_err("refused");
    assert!(error.contains("is damaged at frame") && error.contains("--cut-log"), "{error}");
    let (sound, text) = check(&folder).await;
    assert!(!sound && text.contains("the log beside the file is whole"), "{text}");

    let database = beside(&folder, "");
    let cut = hookmill(&["check", "--cut-log", "--database", database.to_str().unwrap()]).await;
    assert!(cut.status.success(), "{}", said(&cut));
    assert_eq!(
        std::fs::read(beside(&folder, "-wal-damaged")).unwrap(),
        log,
        "nothing is thrown away"
    );
    let (sound, text) = check(&folder).await;
    assert!(sound, "{text}");
    server.restart().await;
    are_there(&server.client(), &ids[..10]).await;
    publish_some(&server.client(), 3).await;
}
