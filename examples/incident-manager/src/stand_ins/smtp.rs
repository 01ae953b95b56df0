//! As much of SMTP as it takes to accept a message.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::peer::{Behavior, Received, Record, reset};

/// Bytes of a conversation.
const BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn serve(mut connection: TcpStream, behavior: Behavior, record: Record) -> io::Result<()> {
    let mut received = Received::default();
    match behavior {
        Behavior::Answer | Behavior::Status(_) => {}
        Behavior::Slow(delay) => tokio::time::sleep(delay).await,
        Behavior::Hang
        | Behavior::Reset
        | Behavior::Garbage
        | Behavior::WrongContent
        | Behavior::Throttle(_) => {
            record.add(received);
            return match behavior {
                Behavior::Reset => reset(&connection),
                Behavior::Garbage | Behavior::WrongContent => {
                    connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await
                }
                Behavior::Throttle(_) => connection.write_all(b"421 4.7.0 too many messages\r\n").await,
                _ => std::future::pending().await,
            };
        }
    }
    let (reader, mut writer) = connection.split();
    let mut reader = BufReader::new(reader).take(BYTES_MAX);
    writer.write_all(b"220 stand-in ESMTP\r\n").await?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        received.head.push_str(&line);
        let reply = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250 stand-in\r\n".to_owned(),
            "RCPT" if let Behavior::Status(code) = behavior => {
                record.add(std::mem::take(&mut received));
                format!("{code} told to fail\r\n")
            }
            "DATA" => {
                writer.write_all(b"354 end with a dot\r\n").await?;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).await? == 0 || line == ".\r\n" {
                        break;
                    }
                    received.body.push_str(&line);
                }
                record.add(std::mem::take(&mut received));
                "250 accepted\r\n".to_owned()
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n").await,
            _ => "250 fine\r\n".to_owned(),
        };
        writer.write_all(reply.as_bytes()).await?;
    }
}
