//! Which file uses which, read off the parsed sources, and the circles in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The code of `folder` without its unit tests, which may use what they like.
pub(super) fn sources(folder: &Path) -> Vec<PathBuf> {
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
pub(super) fn uses(root: &Path, name: &str) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
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
pub(super) fn cycles(uses: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<Vec<&PathBuf>> {
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
