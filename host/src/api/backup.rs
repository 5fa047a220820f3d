//! `POST /v1/backup`: a copy of the whole database, as a file.

use std::{
    fs::File,
    io::{self, Read, Seek},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{
    Api,
    auth::{Admin, Manage},
    docs::{Copying, Unwritable},
    problem::{Code, Problem},
    refusal::{self, Subject},
};
use crate::store::StoreError;

/// Bytes read and sent at once.
const CHUNK: usize = 256 << 10;

/// Make a backup
///
/// A consistent copy of everything, as one SQLite file, while the server works on. The copy is
/// made beside the database first, which takes as much room again, and is deleted when it was
/// sent. `Repr-Digest` is its SHA-256: compare it before you rely on the file. It holds
/// signing secrets and payloads.
#[utoipa::path(
    post,
    path = "/v1/backup",
    tag = "Server",
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.sqlite3"),
        Copying,
        Unwritable
    )
)]
pub async fn make_backup(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
) -> Result<Response, Problem> {
    let subject = Subject::new("making a backup", "");
    let file = api.store.snapshot().await.map_err(|error| match error {
        StoreError::InUse(_) => Problem::new(Code::BackupRunning, "A backup is being made")
            .detail("One is made at a time. Wait for its end."),
        other => refusal::store(other, &subject),
    })?;
    let weighed = tokio::task::spawn_blocking(move || weigh(file)).await;
    let (file, size, digest) = weighed
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Problem::internal("reading a backup", &error))?;
    tracing::info!(bytes = size, "a backup was made");
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH.as_str(), size.to_string()),
        (header::CONTENT_DISPOSITION.as_str(), "attachment; filename=\"hookmill.db\"".to_owned()),
        ("repr-digest", format!("sha-256=:{}:", STANDARD.encode(digest))),
    ];
    Ok((headers, content(file)).into_response())
}

/// A file from its start, its size and its digest.
fn weigh(mut file: File) -> io::Result<(File, u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
    file.rewind()?;
    Ok((file, size, hash.finalize().into()))
}

/// The file is read as fast as the client takes it.
fn content(file: File) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::from_stream(stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut buffer = vec![0; CHUNK];
        match file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(read) => {
                buffer.truncate(read);
                Some((Ok(Bytes::from(buffer)), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_file_is_sent_whole_and_weighed_as_it_is() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..CHUNK * 2 + 7).map(|n| n as u8).collect();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        let (file, size, digest) = weigh(file).unwrap();
        assert_eq!(size, bytes.len() as u64);
        assert_eq!(digest[..], Sha256::digest(&bytes)[..]);
        assert_eq!(to_bytes(content(file), usize::MAX).await.unwrap(), bytes);
    }
}
