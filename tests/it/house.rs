//! Who may use whom: the floors of docs/ARCHITECTURE.md, read off the `use` lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of `src/` may use of the other parts, beside itself. The ground floor (the `breaker` crate) may
/// be used by all, and cargo sees to it that it uses nobody.
const MAY_USE: &[(&str, &[&str])] = &[
    // First floor.
    ("catalog", &["store"]),
    ("engine", &["catalog"]),
    ("metrics", &["engine", "journal", "store"]),
    ("store", &["engine", "metrics", "nearest"]),
    // Second floor: engine + store.
    ("control", &["catalog", "engine", "journal", "overrides", "store"]),
    ("feed", &["control", "engine", "metrics", "store"]),
    ("journal", &["engine", "store"]),
    ("overrides", &["engine", "journal", "pacer"]),
    ("pacer", &["engine", "journal"]),
    ("replica", &["engine"]),
    ("transition_log", &["engine"]),
    // What the edges stand on.
    ("health", &["journal", "store"]),
    ("app", &["control", "engine", "feed", "health", "journal", "metrics", "replica", "store"]),
    // Edges.
    ("auth", &[]),
    (
        "grpc",
        &[
            "app", "auth", "catalog", "control", "engine", "feed", "journal", "metrics", "proto", "replica",
            "nearest", "store",
        ],
    ),
    ("http", &["app", "auth", "engine", "health", "journal", "metrics"]),
    ("proto", &[]),
    // Roof.
    ("config", &["auth", "catalog", "nearest", "store"]),
    ("cli", &["auth", "catalog", "config", "ctl", "data_dir", "doors", "store"]),
    // A client of the API that lives in the same program: of the server it uses the clock and the file's words.
    ("ctl", &["config", "engine", "proto", "signals"]),
    ("data_dir", &[]),
    ("doors", &["auth", "config", "engine", "metrics"]),
    (
        "lifecycle",
        &[
            "app", "config", "control", "data_dir", "engine", "feed", "grpc", "health", "journal", "metrics",
            "pacer", "store",
        ],
    ),
    ("nearest", &[]),
    ("signals", &[]),
    ("supervisor", &["engine", "metrics"]),
    ("telemetry", &["config"]),
    (
        "server",
        &[
            "app",
            "catalog",
            "config",
            "control",
            "data_dir",
            "doors",
            "engine",
            "feed",
            "grpc",
            "health",
            "http",
            "journal",
            "lifecycle",
            "metrics",
            "replica",
            "store",
            "supervisor",
            "transition_log",
        ],
    ),
    ("main", &["cli", "config", "ctl", "engine", "server", "signals", "telemetry"]),
    ("lib", &[]),
];

#[test]
fn every_part_uses_only_what_its_floor_allows() {
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let part = part_of(&path);
        let Some(allowed) = table.get(part.as_str()) else {
            wrong.push(format!("{}: {part} has no floor: give it a line in MAY_USE", path.display()));
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            for used in used_by(line) {
                if used != part && table.contains_key(used.as_str()) && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{}: {part} may not use {used}", path.display(), index + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
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
            let sees_the_wire = ["grpc", "proto", "ctl"].contains(&&*part);
            if !sees_the_wire && (has("crate::proto") || has("proto::v1")) {
                forbid("a generated type", "stands in grpc/, and in ctl/, only");
            }
            // The word "monotonic" has it in it, and is another.
            if !sees_the_wire && line.replace("monotonic", "").contains("tonic") {
                forbid("tonic, and with it a Status", "stands in grpc/, and in ctl/, only");
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

/// `src/engine/clock.rs` is a part of `engine`, `src/app.rs` is `app`.
fn part_of(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of `folder`; its unit tests live upstairs from what they test, and may use what they like.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The parts that a line names after `crate::` (or, in main.rs, `breakerd::`).
fn used_by(line: &str) -> Vec<String> {
    let line = line.trim_start();
    if line.starts_with("//") {
        return Vec::new();
    }
    let mut used = Vec::new();
    for root in ["crate::", "breakerd::"] {
        for (at, _) in line.match_indices(root) {
            let rest = &line[at + root.len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(',').collect(),
                None => vec![rest],
            };
            used.extend(names.iter().map(|name| {
                name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
            }));
        }
    }
    used
}
