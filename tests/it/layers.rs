//! Who may use whom: the layers of docs/ARCHITECTURE.md, read off the parsed sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

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

/// The code of `folder` without its unit tests, which may use what they like.
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

/// Which files of a crate each of its files uses. `name` is the crate's, as its main.rs writes it.
fn uses(root: &Path, name: &str) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let files: BTreeMap<Vec<String>, PathBuf> =
        sources(root).into_iter().map(|file| (module_of(&file, root), file)).collect();
    let mut re_exports = BTreeMap::new();
    let mut paths_of = BTreeMap::new();
    for (module, file) in &files {
        let parsed = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
        let mut visitor = Names { files: &files, module, name, used: Vec::new(), re_exported: Vec::new() };
        visitor.visit_file(&parsed);
        for path in visitor.re_exported {
            let exported = [module.clone(), vec![path.last().unwrap().clone()]].concat();
            re_exports.insert(exported, path);
        }
        paths_of.insert(file.clone(), visitor.used);
    }
    let mut graph = BTreeMap::new();
    for (file, paths) in paths_of {
        let others = paths.into_iter().filter_map(|path| file_of(path, &files, &re_exports));
        let others: BTreeSet<PathBuf> = others.filter(|other| *other != file).collect();
        graph.insert(file, others);
    }
    graph
}

fn module_of(file: &Path, root: &Path) -> Vec<String> {
    let below = file.strip_prefix(root).unwrap().with_extension("");
    let mut module: Vec<String> =
        below.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The file that defines what a path names: a module may only hand on what is another's.
fn file_of(
    mut path: Vec<String>,
    files: &BTreeMap<Vec<String>, PathBuf>,
    re_exports: &BTreeMap<Vec<String>, Vec<String>>,
) -> Option<PathBuf> {
    // Re-exports of re-exports are as many at the most.
    for _ in 0..8 {
        let module = (0..=path.len()).rev().find(|length| files.contains_key(&path[..*length]))?;
        let exported = path.get(..=module).and_then(|exported| re_exports.get(exported));
        match exported {
            Some(origin) if *origin != path[..=module] => {
                path = [origin.clone(), path[module + 1..].to_vec()].concat();
            }
            _ => return files.get(&path[..module]).cloned(),
        }
    }
    None
}

/// What a file names, outside its unit tests.
struct Names<'a> {
    files: &'a BTreeMap<Vec<String>, PathBuf>,
    module: &'a [String],
    name: &'a str,
    used: Vec<Vec<String>>,
    re_exported: Vec<Vec<String>>,
}

impl Names<'_> {
    /// From the root of the crate; none: it is another crate's, or local.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = &self.module[..self.module.len().checked_sub(ups)?];
                Some([base, &path[ups..]].concat())
            }
            first if first == self.name => Some(rest.to_vec()),
            _ => {
                let below = [self.module, path].concat();
                self.files.contains_key(&below[..=self.module.len()]).then_some(below)
            }
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String], public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), public),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before, public);
                }
            }
            syn::UseTree::Name(name) => self.take(&with(&name.ident), public),
            syn::UseTree::Rename(rename) => self.take(&with(&rename.ident), public),
            syn::UseTree::Glob(_) => self.take(before, false),
        }
    }

    fn take(&mut self, path: &[String], public: bool) {
        let Some(mut path) = self.absolute(path) else { return };
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if public {
            self.re_exported.push(path);
        } else {
            self.used.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 && ["crate", "super", "self", self.name].contains(&&*parts[0]) {
            self.take(&parts, false);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition.starts_with("test")
                || condition.starts_with("all (test")
                || condition.starts_with("all(test")
        }
        _ => false,
    })
}

/// The groups of files in which each uses, by way of others, every other one.
fn cycles(uses: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<Vec<&PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        uses.keys().map(|file| (file, reached_from(file, uses))).collect();
    let mut cycles = BTreeSet::new();
    for (file, reaches) in &reached {
        let cycle: Vec<&PathBuf> =
            reaches.iter().copied().filter(|other| reached[*other].contains(file)).collect();
        if cycle.len() > 1 {
            cycles.insert(cycle);
        }
    }
    cycles.into_iter().collect()
}

fn reached_from<'a>(file: &PathBuf, uses: &'a BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> BTreeSet<&'a PathBuf> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        for used in &uses[file] {
            if reached.insert(used) {
                next.push(used);
            }
        }
    }
    reached
}
