//! Passes bytes on to another server, or not.

use std::io;

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::peer::{Behavior, Received, Record, reset};

pub(super) async fn serve(
    mut connection: TcpStream,
    behavior: Behavior,
    record: Record,
    to: String,
) -> io::Result<()> {
    record.add(Received::default());
    match behavior {
        Behavior::Answer => {}
        Behavior::Slow(delay) => tokio::time::sleep(delay).await,
        Behavior::Hang => return std::future::pending().await,
        Behavior::Reset | Behavior::Status(_) | Behavior::Throttle(_) => return reset(&connection),
        Behavior::Garbage | Behavior::WrongContent => {
            return connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    }
    let mut other = TcpStream::connect(to).await?;
    copy_bidirectional(&mut connection, &mut other).await?;
    Ok(())
}
