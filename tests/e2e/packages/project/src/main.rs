//! A user of the client: five failures open the breaker, and the next call is rejected.

use std::time::Duration;

use breakerd_client::{Client, Error, State};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: project ADDRESS")?;
    let client = Client::builder(address).wait_for_first_snapshot(Duration::from_secs(30)).connect().await?;
    let breaker = client.breaker("outside")?;
    for _ in 0..5 {
        let result = breaker.call(async { Err::<(), _>("it is down") }).await;
        assert!(matches!(result, Err(Error::Inner(_))), "{result:?}");
    }
    for _ in 0..300 {
        if breaker.state() == State::Open {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let result = breaker.call(async { Ok::<_, &str>(()) }).await;
    assert!(matches!(result, Err(Error::Open { state: State::Open, .. })), "{result:?}");
    client.shutdown().await;
    println!("{:?}", breaker.stats().reports);
    Ok(())
}
