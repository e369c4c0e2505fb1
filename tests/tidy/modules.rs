//! The modules of a package and which of them import each other, read from the source.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Attribute, UseTree, Visibility};

use crate::tree::sources;

/// A module's path from the root of its package: `["repo", "refs"]`.
pub(crate) type Module = Vec<String>;

/// The import graph of one package, without tests. A name that a module only re-exports leads to where it is defined, so
/// that a module can be the face of those below it.
pub(crate) struct Graph {
    imports: BTreeMap<Module, BTreeSet<Module>>,
}

/// What one module names.
#[derive(Default)]
struct Named {
    paths: Vec<Vec<String>>,
    /// The public name, and what it stands for.
    exports: Vec<(String, Vec<String>)>,
}

/// Collects the paths of one file.
struct Collector<'a> {
    named: &'a mut Named,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Every path that a `use` names, with the name that it is known by.
fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
        }
        UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        UseTree::Rename(rename) => found.push((rename.rename.to_string(), with(&rename.ident))),
        UseTree::Glob(_) => found.push(("*".to_owned(), before.to_vec())),
        UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, before, found)),
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        if matches!(item.vis, Visibility::Inherited) {
            self.named.paths.extend(found.into_iter().map(|(_, path)| path));
        } else {
            self.named.exports.extend(found);
        }
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.named.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

impl Graph {
    /// Reads a package: `heddled`.
    pub(crate) fn read(package: &str) -> Self {
        let folder = format!("{package}/src/");
        let mut named: BTreeMap<Module, Named> = BTreeMap::new();
        for source in sources(&[folder.trim_end_matches('/')]) {
            if source.is_test() || source.path.contains("/bin/") {
                continue;
            }
            let path = source.path.strip_prefix(&folder).unwrap().strip_suffix(".rs").unwrap();
            let module: Module = path.split('/').map(str::to_owned).collect();
            let module = match module.split_last() {
                Some((last, above)) if ["mod", "lib", "main"].contains(&last.as_str()) => above.to_vec(),
                _ => module,
            };
            let file = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
            Collector { named: named.entry(module).or_default() }.visit_file(&file);
        }
        let imports = named
            .iter()
            .map(|(module, names)| {
                let found = names.paths.iter().filter_map(|path| Self::target(&named, module, path, 0));
                (module.clone(), found.filter(|target| target != module).collect())
            })
            .collect();
        Self { imports }
    }

    /// The module in which a path that `from` names is defined; `None` for what is outside of the package.
    fn target(named: &BTreeMap<Module, Named>, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        let (mut module, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => (from[..from.len().checked_sub(ups)?].to_vec(), &path[ups..]),
            // A name alone may be a variable.
            first if path.len() > 1 && named.contains_key(&[&from[..], &[first.to_owned()]].concat()) => {
                (from.clone(), path)
            }
            _ => return None,
        };
        while let Some((first, after)) = rest.split_first() {
            let below = [&module[..], std::slice::from_ref(first)].concat();
            if !named.contains_key(&below) {
                break;
            }
            (module, rest) = (below, after);
        }
        let export = rest.first().and_then(|name| {
            let (_, path) = named.get(&module)?.exports.iter().find(|(public, _)| public == name)?;
            (depth < 8).then(|| Self::target(named, &module, &[path, &rest[1..]].concat(), depth + 1))?
        });
        Some(export.unwrap_or(module))
    }

    fn reachable(&self, from: &Module) -> BTreeSet<&Module> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&Module> = self.imports[from].iter().collect();
        while let Some(module) = open.pop() {
            if let Some((module, imports)) = self.imports.get_key_value(module)
                && found.insert(module)
            {
                open.extend(imports);
            }
        }
        found
    }

    /// The circles: sets of modules that each lead to all others of the set, the largest first.
    pub(crate) fn circles(&self) -> Vec<Vec<&Module>> {
        let reachable: BTreeMap<&Module, BTreeSet<&Module>> =
            self.imports.keys().map(|module| (module, self.reachable(module))).collect();
        let mut circles: BTreeSet<Vec<&Module>> = BTreeSet::new();
        for (module, reached) in &reachable {
            let circle: Vec<&Module> =
                reached.iter().copied().filter(|other| reachable[other].contains(module)).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }
}
