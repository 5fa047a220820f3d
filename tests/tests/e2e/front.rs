//! The server's front: HTTPS with certificates that change, settings that are read again, and
//! what is said of a configuration that cannot be used.

use std::{path::Path, process::Stdio};

use hookmill_tests::{ADMIN_KEY, Authority, PATIENCE, Server, binary};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// Authorities and a certificate of theirs, as files.
struct Papers {
    folder: TempDir,
}

impl Papers {
    fn make() -> Self {
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let papers = Self { folder: TempDir::new().expect("a temporary folder can be made") };
        papers.renew();
        papers
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("its name is text").to_owned()
    }

    /// A new authority, a new certificate, a new key.
    fn renew(&self) {
        let authority = Authority::make();
        authority.write(Path::new(&self.file("ca.pem")));
        let (certificate, key) = authority.pem("127.0.0.1");
        // The key first: until the certificate is there, the pair is refused.
        std::fs::write(self.file("tls.key"), key).expect("the file can be written");
        std::fs::write(self.file("tls.crt"), certificate).expect("the file can be written");
    }

    fn client(&self, http1_only: bool) -> reqwest::Client {
        let pem = std::fs::read(self.file("ca.pem")).expect("it was written");
        let authority = reqwest::Certificate::from_pem(&pem).expect("it is a certificate");
        let builder = reqwest::Client::builder().tls_certs_only([authority]);
        let builder = if http1_only { builder.http1_only() } else { builder };
        builder.build().expect("a client can be made")
    }
}

async fn ready(client: &reqwest::Client, url: &str) -> Result<reqwest::Version, reqwest::Error> {
    let answer = client.get(format!("{url}/readyz")).send().await?.error_for_status()?;
    Ok(answer.version())
}

async fn hang_up(server: &Server) {
    let asked = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().await;
    assert!(asked.is_ok_and(|status| status.success()), "the server takes a signal");
}

#[tokio::test]
async fn https_over_both_protocols_and_a_new_certificate_without_a_restart() {
    let papers = Papers::make();
    let (certificate, key) = (papers.file("tls.crt"), papers.file("tls.key"));
    let settings = [("TLS_CERTIFICATE", certificate.as_str()), ("TLS_KEY", key.as_str())];
    let mut server = Server::start_with(&settings).await;
    let url = server.url().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    let (old, old_1) = (papers.client(false), papers.client(true));
    assert_eq!(ready(&old, &url).await.unwrap(), reqwest::Version::HTTP_2);
    assert_eq!(ready(&old_1, &url).await.unwrap(), reqwest::Version::HTTP_11);

    // The command line trusts the file that is named.
    let healthcheck = |authorities: String| {
        Command::new(binary())
            .args(["healthcheck", "--url", &url, "--ca-file", &authorities])
            .stdin(Stdio::null())
            .output()
    };
    let asked = healthcheck(papers.file("ca.pem")).await.unwrap();
    assert!(asked.status.success(), "{asked:?}");

    // A key that is not the certificate's changes nothing.
    let other = Papers::make();
    std::fs::copy(other.file("tls.key"), papers.file("tls.key")).unwrap();
    hang_up(&server).await;
    assert!(ready(&papers.client(false), &url).await.is_ok());

    papers.renew();
    let seen = timeout(PATIENCE, async {
        while ready(&papers.client(false), &url).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    seen.await.expect("the new certificate is shown");
    // The connection from before is open still: a new one would not trust it.
    assert!(ready(&old, &url).await.is_ok());
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_lets_nobody_in_without() {
    let papers = Papers::make();
    let [certificate, key, ca] = ["tls.crt", "tls.key", "ca.pem"].map(|name| papers.file(name));
    let settings = [
        ("TLS_CERTIFICATE", certificate.as_str()),
        ("TLS_KEY", key.as_str()),
        ("TLS_CLIENT_CA", ca.as_str()),
    ];
    let server = Server::start_with(&settings).await;
    assert!(ready(&papers.client(false), server.url()).await.is_err());
    let pem = [key, certificate].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let identity = reqwest::Identity::from_pem(pem.as_bytes()).unwrap();
    let authority = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    let known = reqwest::Client::builder().tls_certs_only([authority]).identity(identity);
    assert!(ready(&known.build().unwrap(), server.url()).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_every_problem_by_check_and_serve_alike() {
    let (papers, other) = (Papers::make(), Papers::make());
    let file = papers.file("hookmill.toml");
    std::fs::write(&file, "max_in_fligth = 1\nmax_body_bytes = 1\nlog_format = \"xml\"\n").unwrap();
    let run = |arguments: Vec<&str>| {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(papers.folder.path()).stdin(Stdio::null());
        command.output()
    };
    let checked = run(vec!["config", "check", "--config", &file]).await.unwrap();
    let served = run(vec!["serve", "--config", &file]).await.unwrap();
    assert_eq!((checked.status.code(), served.status.code()), (Some(2), Some(2)));
    assert_eq!(checked.stderr, served.stderr);
    let said = String::from_utf8(checked.stderr).unwrap();
    for part in ["did you mean max_in_flight?", "max_body_bytes is 1;", "log_format", ":1)", ":3)"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }

    let (certificate, key) = (papers.file("tls.crt"), other.file("tls.key"));
    let wrong = vec!["serve", "--listen", "127.0.0.1:0", "--tls-certificate", &certificate];
    let refused = run([wrong, vec!["--tls-key", &key]].concat()).await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is not the key of the certificate in"), "{said}");

    let sample = run(vec!["config", "default"]).await.unwrap();
    std::fs::write(&file, &sample.stdout).unwrap();
    let checked = run(vec!["config", "check", "--config", &file]).await.unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn a_limit_is_read_again_on_sighup_and_a_broken_file_changes_nothing() {
    let papers = Papers::make();
    let file = papers.file("hookmill.toml");
    std::fs::write(&file, "max_body_bytes = 2048\n").unwrap();
    let server = Server::start_with(&[("CONFIG", &file)]).await;
    let http = reqwest::Client::new();
    let body = format!("{{\"type\": \"a.b\", \"payload\": \"{}\"}}", "x".repeat(4_000));
    let status = || async {
        let request = http.post(format!("{}/v1/events", server.url())).bearer_auth(ADMIN_KEY);
        let request = request.header("content-type", "application/json").body(body.clone());
        request.send().await.expect("it answers").status().as_u16()
    };
    assert_eq!(status().await, 413);
    std::fs::write(&file, "max_body_bytes = 8192\n").unwrap();
    hang_up(&server).await;
    let taken = timeout(PATIENCE, async {
        while status().await == 413 {
            tokio::task::yield_now().await;
        }
    });
    taken.await.expect("the new limit counts");
    std::fs::write(&file, "max_body_bytes = 1\n").unwrap();
    hang_up(&server).await;
    assert_ne!(status().await, 413);
}

/// Every setting that the files of packaging/ name is one.
#[tokio::test]
async fn packaged_files_name_settings_and_commands_that_exist() {
    let known: Vec<String> =
        hookmill::config::SETTINGS.iter().map(|setting| setting.variable()).collect();
    let files = [
        include_str!("../../../packaging/systemd/hookmill.service"),
        include_str!("../../../packaging/docker/Dockerfile"),
        include_str!("../../../packaging/docker/compose.yaml"),
    ];
    for text in files {
        let of_a_name = |c: char| c.is_ascii_uppercase() || c == '_';
        let words = text.split(|c: char| !of_a_name(c));
        for word in words.filter(|word| word.starts_with("HOOKMILL_")) {
            assert!(word == "HOOKMILL_CONFIG" || known.iter().any(|name| name == word), "{word}");
        }
    }
    for command in ["serve", "healthcheck"] {
        let help = Command::new(binary()).args([command, "--help"]).output().await.unwrap();
        assert!(help.status.success(), "{command}");
    }
    // Where systemd's own check is there, the unit passes it, but for what is not installed.
    let unit = hookmill_tests::repository().join("packaging/systemd/hookmill.service");
    let verify = Command::new("systemd-analyze").arg("verify").arg(&unit).output().await;
    if let Ok(verify) = verify {
        let said = String::from_utf8_lossy(&verify.stderr).into_owned();
        let wrong: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("hookmill.service"))
            .filter(|line| !line.contains("not executable") && !line.contains("man hookmill"))
            // Before version 253 it does not know this type, and stays with the one before it.
            .filter(|line| !line.ends_with("ignoring: notify-reload"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
