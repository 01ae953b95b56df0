//! What an operator sees of the time before a restart: what the store knows, or a dash.

use crate::ctl::{Desk, Said, bare};
use crate::process::ends;

#[tokio::test]
async fn no_figure_begins_anew_with_a_restart() {
    let desk = Desk::open().await;
    desk.ask(&["allow", "search"]).await.well();
    desk.open_breaker("database", 3).await;
    let used = desk.ask(&["get", "search"]).await.lines();
    assert!(used.iter().any(|line| line.starts_with("last used 20")), "{used:?}");
    desk.ask(&["override", "set", "search", "disabled", "--service-wide", "--reason", "r"]).await.well();
    let since = |lines: &[String]| lines.iter().find(|line| line.starts_with("since ")).cloned();
    let time = |line: String| line.split(" (").next().unwrap().to_owned();
    let opened = since(&desk.ask(&["get", "database"]).await.lines()).map(time).expect("it is open");

    desk.process.terminate();
    let folder = desk.folder().to_owned();
    let (process, _folder) = desk.restarted(&folder).await;
    let ask = async |args: &[&str]| {
        let mut command = bare(args);
        command.env("BREAKERD_ADDRESS", process.grpc.strip_prefix("http://").unwrap());
        Said::from(ends(command).await)
    };
    let shown = ask(&["get", "database"]).await.lines();
    assert!(shown.contains(&"last used -".to_owned()), "{shown:?}");
    assert_eq!(since(&shown).map(time), Some(opened), "the store knows");
    // Created by the start, under the override of its service.
    ask(&["override", "set", "mail", "disabled", "--service-wide", "--create", "--reason", "r"]).await.well();
    ask(&["allow", "mail"]).await.well();
    let rows = ask(&["ls", "mail"]).await.lines();
    assert!(rows.iter().any(|row| row.starts_with("mail mail DISABLED - ")), "{rows:?}");
}
