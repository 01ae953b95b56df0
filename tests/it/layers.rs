//! Who may use whom: the layers of docs/ARCHITECTURE.md, read off the parsed sources.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use self::graph::{cycles, sources, uses};

/// What each part of `src/` may use of the other parts, beside itself: only parts above it in this table, so that there is
/// no cycle. All may use the `breaker` crate, and `breakerd-api`, `breakerd-common` and `breakerd-ctl` are
/// crates, of which cargo knows who uses whom.
const MAY_USE: &[(&str, &[&str])] = &[
    // Used by all, using nothing.
    ("data_dir", &[]),
    ("log_throttle", &[]),
    ("protocol_rules", &[]),
    ("rate_limiter", &[]),
    ("retry_after", &[]),
    ("version", &[]),
    ("auth", &["rate_limiter"]),
    // The domain.
    ("catalog", &[]),
    ("store", &["catalog", "protocol_rules"]),
    ("engine", &["catalog", "protocol_rules"]),
    ("journal", &["engine", "store"]),
    ("traces", &["engine", "store", "version"]),
    ("metrics", &["auth", "engine", "journal", "store", "traces", "version"]),
    // What works on engine, journal and store together.
    ("pacer", &["journal"]),
    ("override_reconciler", &["engine", "journal", "pacer"]),
    ("control", &["catalog", "engine", "journal", "override_reconciler", "store"]),
    ("trouble", &["log_throttle", "store"]),
    ("permit_keys", &["engine", "store", "trouble"]),
    ("feed", &["control", "engine", "metrics", "store"]),
    (
        "replica",
        &["catalog", "engine", "journal", "metrics", "protocol_rules", "store", "trouble", "version"],
    ),
    ("local_snapshot", &["control", "engine", "feed", "permit_keys", "replica", "store"]),
    ("transition_log", &["engine"]),
    ("webhook", &["auth", "engine", "log_throttle", "metrics", "retry_after", "store"]),
    ("health", &["journal", "store"]),
    (
        "app",
        &[
            "control",
            "engine",
            "feed",
            "health",
            "journal",
            "metrics",
            "permit_keys",
            "replica",
            "store",
            "traces",
        ],
    ),
    ("roster", &["app", "replica", "store"]),
    (
        "runtime",
        &[
            "app",
            "control",
            "engine",
            "feed",
            "journal",
            "metrics",
            "permit_keys",
            "replica",
            "store",
            "traces",
            "transition_log",
            "webhook",
        ],
    ),
    // The settings, and what reads them.
    ("config", &["auth", "catalog", "store", "webhook"]),
    // Transports: accept, convert, call, convert.
    ("listener", &["auth", "log_throttle", "metrics"]),
    (
        "grpc",
        &[
            "app",
            "auth",
            "catalog",
            "config",
            "control",
            "engine",
            "feed",
            "journal",
            "listener",
            "log_throttle",
            "metrics",
            "permit_keys",
            "rate_limiter",
            "replica",
            "retry_after",
            "roster",
            "store",
            "traces",
            "webhook",
        ],
    ),
    (
        "http",
        &[
            "app",
            "auth",
            "engine",
            "health",
            "journal",
            "listener",
            "log_throttle",
            "metrics",
            "roster",
            "store",
            "version",
        ],
    ),
    // The process.
    ("security", &["auth", "config", "metrics"]),
    ("webhook_files", &["config", "metrics", "webhook"]),
    ("telemetry", &["config"]),
    ("trace_export", &["config", "metrics", "traces", "version"]),
    ("supervisor", &["metrics"]),
    (
        "lifecycle",
        &[
            "app", "catalog", "config", "control", "data_dir", "engine", "feed", "grpc", "health", "journal",
            "metrics", "pacer", "store",
        ],
    ),
    (
        "server",
        &[
            "app",
            "catalog",
            "config",
            "control",
            "data_dir",
            "engine",
            "grpc",
            "health",
            "http",
            "journal",
            "feed",
            "lifecycle",
            "local_snapshot",
            "metrics",
            "permit_keys",
            "replica",
            "runtime",
            "security",
            "store",
            "supervisor",
            "trace_export",
            "version",
            "webhook",
            "webhook_files",
        ],
    ),
    (
        "cli",
        &[
            "auth",
            "catalog",
            "config",
            "data_dir",
            "security",
            "store",
            "trace_export",
            "version",
            "webhook_files",
        ],
    ),
    ("main", &["cli", "config", "server", "telemetry"]),
];

#[test]
fn the_table_has_an_order() {
    let mut above = BTreeSet::new();
    for (part, uses) in MAY_USE {
        let below: Vec<_> = uses.iter().filter(|used| !above.contains(**used)).collect();
        assert!(below.is_empty(), "{part} may use only what stands above it, not {below:?}");
        assert!(above.insert(*part), "{part} stands twice");
    }
}

#[test]
fn every_part_uses_only_what_its_layer_allows() {
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, used) in uses(Path::new("src"), "breakerd") {
        let part = part_of(&file);
        if part == "lib" {
            continue;
        }
        let Some(allowed) = table.get(part.as_str()) else {
            wrong.push(format!("{}: {part} has no layer: give it a line in MAY_USE", file.display()));
            continue;
        };
        for used in used {
            let other = part_of(&used);
            if other != part && other != "lib" && !allowed.contains(&&*other) {
                wrong.push(format!("{}: {part} may not use {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (root, name) in [
        ("src", "breakerd"),
        ("api/src", "breakerd_api"),
        ("breaker/src", "breaker"),
        ("clients/rust/src", "breakerd_client"),
        ("common/src", "breakerd_common"),
        ("ctl/src", "breakerd_ctl"),
    ] {
        let uses = uses(Path::new(root), name);
        found.extend(cycles(&uses).into_iter().map(|cycle| cycle.into_iter().cloned().collect::<Vec<_>>()));
    }
    assert!(found.is_empty(), "use each other in a circle: {found:#?}");
}

#[test]
fn what_must_be_absent_is_absent() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let part = part_of(&path);
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (index, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let mut forbid = |what: &str, why: &str| {
                wrong.push(format!("{}:{}: {what}: {why}", path.display(), index + 1));
            };
            let has = |word: &str| line.contains(word);
            if part != "store" && (has("sqlx::query") || has("SELECT ")) {
                forbid("SQL", "stands in store/ only");
            }
            // The wire has two ends: grpc/ serves it, and ctl/ is a client, which nothing of the server may use.
            let sees_the_wire = ["grpc"].contains(&&*part);
            if !sees_the_wire && has("breakerd_api") {
                forbid("a generated type", "stands in grpc/, and in ctl/, only");
            }
            // The word "monotonic" has it in it, and is another.
            let is_client = part == "trace_export";
            if !sees_the_wire && !is_client && line.replace("monotonic", "").contains("tonic") {
                forbid("tonic, and with it a Status", "stands in grpc/, trace_export/ and ctl/ only");
            }
            // The migrations are data that sqlx wants to stand still, and an allocator can be nothing else.
            if (line.trim_start().starts_with("static ") && !has("Migrator") && !has("MiMalloc"))
                || has("pub static ")
                || has("pub(crate) static ")
            {
                forbid("a static", "everything is passed in");
            }
            if has("tokio::spawn(") && part != "signals" && part != "config" {
                forbid("tokio::spawn", "every task has an owner that ends it: a TaskTracker or a JoinSet");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_architecture_names_only_paths_that_exist() {
    let text = fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let roots = [
        "src/",
        "api/",
        "breaker/",
        "clients/",
        "common/",
        "ctl/",
        "tests/",
        "docs/",
        "proto/",
        "migrations/",
    ];
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter(|word| roots.iter().any(|root| word.starts_with(root))).collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !Path::new(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `src/engine/calls.rs` is a part of `engine`, `src/app.rs` is `app`.
fn part_of(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}
