//! HTTP/1.1, one request on each connection.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::peer::{Behavior, Peer, Received, Record, reset};

/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;

impl Peer {
    /// An HTTP service that answers with the status and the body that `answer` returns.
    ///
    /// # Errors
    /// No free port.
    pub async fn http(
        answer: impl Fn(&Received) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start(move |connection, behavior, record| serve(connection, behavior, record, answer.clone()))
            .await
    }
}

async fn serve(
    mut connection: TcpStream,
    behavior: Behavior,
    record: Record,
    answer: impl Fn(&Received) -> (u16, String),
) -> io::Result<()> {
    let request = read(&mut connection).await?;
    record.add(request.clone());
    let (status, header, body) = match behavior {
        Behavior::Answer => with(answer(&request)),
        Behavior::Slow(delay) => {
            tokio::time::sleep(delay).await;
            with(answer(&request))
        }
        Behavior::Status(status) => (status, String::new(), "told to fail".to_owned()),
        Behavior::Throttle(seconds) => (429, format!("Retry-After: {seconds}\r\n"), String::new()),
        Behavior::Hang => return std::future::pending().await,
        Behavior::Reset => return reset(&connection),
        Behavior::Garbage => return connection.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await,
        Behavior::WrongContent => (200, String::new(), "<html>Please log in</html>".to_owned()),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n{body}");
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

fn with((status, body): (u16, String)) -> (u16, String, String) {
    (status, String::new(), body)
}

async fn read(connection: &mut TcpStream) -> io::Result<Received> {
    let mut reader = BufReader::new(connection).take(REQUEST_BYTES_MAX);
    let mut request = Received::default();
    reader.read_line(&mut request.line).await?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        request.head.push_str(&line);
    }
    reader.take(length).read_to_string(&mut request.body).await?;
    Ok(request)
}
