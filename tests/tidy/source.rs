//! Finds in one source file what breaks the tables of `tidy.rs`.

use super::{
    BANNED_MACROS, CRATES, EMPTY_NAMES, FILE_LINES_MAX, FUNCTION_LINES_MAX, LAYERS, NARROW,
    SIDEWAYS,
};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree};

/// One place that breaks one rule.
#[derive(Debug)]
pub struct Fault {
    pub file: String,
    pub line: usize,
    pub rule: &'static str,
    /// What is there, and what to do instead.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            rule,
            text,
        } = self;
        write!(f, "{file}:{line}: {rule}: {text}")
    }
}

/// Checks the source of `path`, which is relative to the package: `src/log/scan.rs`.
pub fn faults_of(path: &str, source: &str) -> Vec<Fault> {
    let mut finder = Finder::new(path);
    finder.check_names();
    if !source.trim_start().starts_with("//!") {
        let text = "say what the file knows and what it keeps true; open it with `//!`";
        finder.report_line(1, "no text at the top", text);
    }
    match syn::parse_file(source) {
        Ok(file) => {
            collect_local_names(&file.items, &mut finder.local);
            finder.visit_file(&file);
        }
        Err(error) => finder.report(error.span(), "does not parse", &error.to_string()),
    }
    let lines = source.lines().count() - finder.test_lines;
    if lines > FILE_LINES_MAX {
        let text =
            format!("{lines} lines, at most {FILE_LINES_MAX}; give a part a file of its own");
        finder.report_line(1, "file too long", &text);
    }
    finder.faults
}

/// The files and folders that `#[cfg(test)] mod name;` declares, by `#[path]` too.
pub fn test_only_files(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in sources {
        let Ok(file) = syn::parse_file(source) else {
            continue;
        };
        let parent = Path::new(path);
        let folder = match parent.file_stem().and_then(|it| it.to_str()) {
            Some("mod" | "lib" | "main") => {
                parent.parent().expect("a file is in a folder").to_owned()
            }
            _ => parent.with_extension(""),
        };
        for item in &file.items {
            if let Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                if let Some(named) = path_attribute(&module.attrs) {
                    found.push(parent.with_file_name(named).display().to_string());
                    continue;
                }
                let name = folder.join(module.ident.to_string());
                found.push(format!("{}.rs", name.display()));
                found.push(format!("{}/", name.display()));
            }
        }
    }
    found
}

/// The file that `#[path = "..."]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|it| it.path().is_ident("path"))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(name),
            ..
        }) => Some(name.value()),
        _ => None,
    }
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        let tokens = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        let words = || tokens.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = |word: &str| words().any(|it| it == word);
        attribute.path().is_ident("test") || (is_cfg && named("test") && !named("not"))
    })
}

/// The names of modules declared here, and of what is imported from this crate: a path that starts
/// with one of them does not name a foreign crate.
fn collect_local_names(items: &[Item], local: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Mod(module) => {
                local.insert(module.ident.to_string());
                if let Some((_, items)) = &module.content {
                    collect_local_names(items, local);
                }
            }
            Item::Use(item) => flatten(&item.tree, &mut Vec::new(), &mut |path, name| {
                if matches!(path[0].as_str(), "crate" | "self" | "super") {
                    local.insert(name.to_owned());
                }
            }),
            _ => {}
        }
    }
}

/// Calls `found` with each path of a `use` tree and the name that it binds.
fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut dyn FnMut(&[String], &str)) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|it| flatten(it, prefix, found)),
        UseTree::Name(name) if name.ident == "self" => {
            let last = prefix.last().cloned().unwrap_or_default();
            found(prefix, &last);
        }
        leaf => {
            let (name, bound) = match leaf {
                UseTree::Name(it) => (it.ident.to_string(), it.ident.to_string()),
                UseTree::Rename(it) => (it.ident.to_string(), it.rename.to_string()),
                _ => ("*".to_owned(), "*".to_owned()),
            };
            prefix.push(name);
            found(prefix, &bound);
            prefix.pop();
        }
    }
}

struct Finder<'a> {
    path: &'a str,
    /// Where in the crate we are: `src/log/scan.rs` is `[log, scan]`, inline modules come on top.
    module: Vec<String>,
    local: BTreeSet<String>,
    test_lines: usize,
    faults: Vec<Fault>,
}

impl<'a> Finder<'a> {
    fn new(path: &'a str) -> Self {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inside
            .split('/')
            .filter(|it| !matches!(*it, "mod" | "lib" | "main"))
            .map(str::to_owned)
            .collect();
        Self {
            path,
            module,
            local: BTreeSet::new(),
            test_lines: 0,
            faults: Vec::new(),
        }
    }

    fn report(&mut self, span: Span, rule: &'static str, text: &str) {
        self.report_line(span.start().line, rule, text);
    }

    fn report_line(&mut self, line: usize, rule: &'static str, text: &str) {
        let is_known = |it: &Fault| it.line == line && it.rule == rule && it.text == text;
        if self.faults.iter().any(is_known) {
            return;
        }
        self.faults.push(Fault {
            file: self.path.to_owned(),
            line,
            rule,
            text: text.to_owned(),
        });
    }

    fn check_names(&mut self) {
        if let Some(name) = self
            .module
            .iter()
            .find(|it| EMPTY_NAMES.contains(&it.as_str()))
        {
            let text = format!("{name:?} says nothing; name the thing that is inside");
            self.report_line(1, "empty name", &text);
        }
        if let Some(room) = self.module.first().filter(|room| layer_of(room).is_none()) {
            let text = format!("{room} has no layer; give it a row in LAYERS of tests/tidy.rs");
            self.report_line(1, "unknown room", &text);
        }
    }

    /// Checks one path, from wherever it is written.
    fn check_path(&mut self, segments: &[String], is_global: bool, span: Span) {
        let first = segments[0].as_str();
        if let Some(room) = self.room_named_by(segments) {
            self.check_import(&room, span);
        } else if is_global || !self.local.contains(first) {
            self.check_foreign(first, span);
        }
        if segments.len() > 1 && segments.last().is_some_and(|it| it == "unwrap") {
            self.report_unwrap(span);
        }
    }

    /// The room that a path of this crate leads into; `None` for other paths.
    fn room_named_by(&self, segments: &[String]) -> Option<String> {
        let climbs = segments.iter().take_while(|it| *it == "super").count();
        let (base, rest) = match segments[0].as_str() {
            "crate" => (0, &segments[1..]),
            "super" => (self.module.len().checked_sub(climbs)?, &segments[climbs..]),
            _ => return None,
        };
        let inside = self.module[..base].iter().chain(rest);
        inside.into_iter().next().cloned()
    }

    fn check_import(&mut self, target: &str, span: Span) {
        let Some(room) = self.module.first().cloned() else {
            return; // lib.rs and main.rs only declare and start.
        };
        if room == target {
            return;
        }
        let Some(to) = layer_of(target) else {
            let text = format!("{target} is no room; give it a row in LAYERS of tests/tidy.rs");
            return self.report(span, "unknown room", &text);
        };
        let from = layer_of(&room).unwrap_or(u8::MAX);
        let is_down = to < from || SIDEWAYS.contains(&(room.as_str(), target));
        let sees = NARROW.iter().find(|(it, _)| *it == room);
        if !is_down || sees.is_some_and(|(_, rooms)| !rooms.contains(&target)) {
            let text = format!(
                "{room} (layer {from}) may not name {target} (layer {to}); move what both need \
                 down, or pass it in as a value"
            );
            self.report(span, "import climbs", &text);
        }
    }

    fn check_foreign(&mut self, name: &str, span: Span) {
        let Some(room) = self.module.first().cloned() else {
            return;
        };
        let Some((_, rooms)) = CRATES.iter().find(|(it, _)| *it == name) else {
            return;
        };
        if !rooms.contains(&room.as_str()) {
            let homes = rooms.join(", ");
            let text = format!("{name} is named in {homes} only; use what these rooms offer");
            self.report(span, "foreign crate outside its room", &text);
        }
    }

    fn report_unwrap(&mut self, span: Span) {
        let text = "unwrap; return the error, or state the proof with expect";
        self.report(span, "not outside tests", text);
    }

    fn check_macro_name(&mut self, name: &str, span: Span) {
        if BANNED_MACROS.contains(&name) {
            let text = format!("{name}!; finish the code, or take it out");
            self.report(span, "not outside tests", &text);
        }
    }

    fn check_length(&mut self, first: Span, last: Span) {
        let lines = last.end().line - first.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            let text = format!("{lines} lines, at most {FUNCTION_LINES_MAX}; name its parts");
            self.report(first, "function too long", &text);
        }
    }

    /// What a macro is given is not parsed, so its words are read one by one.
    fn check_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_mark = |at: usize, mark: char| matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == mark);
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            at += 1;
            match &tokens[start] {
                TokenTree::Group(group) => self.check_tokens(group.stream()),
                TokenTree::Ident(name) => {
                    let mut segments = vec![name.to_string()];
                    while is_mark(at, ':') && is_mark(at + 1, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 2) else {
                            break;
                        };
                        segments.push(next.to_string());
                        at += 3;
                    }
                    let is_call = start > 0 && is_mark(start - 1, '.');
                    if is_call && name == "unwrap" {
                        self.report_unwrap(name.span());
                    } else if segments.len() > 1 {
                        self.check_path(&segments, false, name.span());
                    } else if is_mark(at, '!') {
                        self.check_macro_name(&segments[0], name.span());
                    }
                }
                _ => {}
            }
        }
    }

    fn skip_test(&mut self, span: Span) {
        self.test_lines += span.end().line - span.start().line + 1;
    }
}

fn layer_of(room: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(it, _)| *it == room)
        .map(|(_, layer)| *layer)
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Const(it) => &it.attrs,
            Item::Enum(it) => &it.attrs,
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            Item::Macro(it) => &it.attrs,
            Item::Mod(it) => &it.attrs,
            Item::Static(it) => &it.attrs,
            Item::Struct(it) => &it.attrs,
            Item::Trait(it) => &it.attrs,
            Item::Type(it) => &it.attrs,
            Item::Use(it) => &it.attrs,
            _ => &[],
        };
        if is_test(attributes) {
            self.skip_test(item.span());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(function) if is_test(&function.attrs) => self.skip_test(item.span()),
            item => visit::visit_impl_item(self, item),
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_global = item.leading_colon.is_some();
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut |path, _| {
            paths.push(path.to_vec())
        });
        for path in paths {
            self.check_path(&path, is_global, item.span());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|it| it.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.check_path(&segments, path.leading_colon.is_some(), path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check_length(function.sig.span(), function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check_length(function.sig.span(), function.block.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.check_length(function.sig.span(), block.span());
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" {
            self.report_unwrap(call.method.span());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.check_macro_name(&name.ident.to_string(), name.span());
        }
        self.check_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
