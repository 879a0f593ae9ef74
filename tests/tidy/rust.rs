//! Rust source as tokens and functions: comments and strings never look like code.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::source::{File, Finding};

/// One token and the line it starts on, from 1.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the line of `fn` to the line of the closing brace.
    pub(crate) lines: RangeInclusive<usize>,
}

/// One file, parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) functions: Vec<Function>,
    /// Lines inside `#[cfg(test)]` items and test functions.
    tests: Vec<RangeInclusive<usize>>,
    whole_file_is_test: bool,
}

impl Parsed {
    /// Parses a file, or says where it cannot.
    pub(crate) fn of(file: &File) -> Result<Self, Finding> {
        let refused = |error: syn::Error| {
            file.finding(
                error.span().start().line,
                format!("does not parse: {error}"),
            )
        };
        let tree = syn::parse_file(&file.text).map_err(refused)?;
        let mut seen = Seen {
            functions: Vec::new(),
            tests: Vec::new(),
        };
        seen.visit_file(&tree);
        Ok(Self {
            tokens: tokens(&file.text),
            functions: seen.functions,
            tests: seen.tests,
            whole_file_is_test: file.is_test(),
        })
    }

    /// Whether a line is test code.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.whole_file_is_test || self.tests.iter().any(|range| range.contains(&line))
    }

    /// Lines on which a sequence of tokens starts; `pattern` is written as in Rust.
    pub(crate) fn find(&self, pattern: &str) -> Vec<usize> {
        let wanted = tokens(pattern);
        assert!(!wanted.is_empty(), "an empty pattern is everywhere");
        let same = |run: &&[Token]| run.iter().zip(&wanted).all(|(a, b)| a.text == b.text);
        self.tokens
            .windows(wanted.len())
            .filter(same)
            .map(|run| run[0].line)
            .collect()
    }
}

/// The findings of a check over the parsed file; a file that does not parse is a finding itself.
pub(crate) fn parsed(file: &File, check: impl FnOnce(&Parsed) -> Vec<Finding>) -> Vec<Finding> {
    match file.parsed() {
        Ok(parsed) => check(parsed),
        Err(finding) => vec![finding.clone()],
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let stream: TokenStream = text.parse().expect("Rust tokens");
    let mut out = Vec::new();
    flatten(stream, &mut out);
    out
}

fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push(Token {
                    text: open.to_owned(),
                    line,
                });
                flatten(group.stream(), out);
                out.push(Token {
                    text: close.to_owned(),
                    line: group.span_close().start().line,
                });
            }
            leaf => out.push(Token {
                text: leaf.to_string(),
                line,
            }),
        }
    }
}

struct Seen {
    functions: Vec<Function>,
    tests: Vec<RangeInclusive<usize>>,
}

impl Seen {
    fn function(&mut self, attributes: &[syn::Attribute], sig: &syn::Signature, body: &syn::Block) {
        let first = sig.fn_token.span.start().line;
        let last = body.brace_token.span.close().end().line;
        self.functions.push(Function {
            name: sig.ident.to_string(),
            lines: first..=last,
        });
        self.test(attributes, first..=last);
    }

    fn test(&mut self, attributes: &[syn::Attribute], lines: RangeInclusive<usize>) {
        if attributes.iter().any(marks_test) {
            self.tests.push(lines);
        }
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(any(test, …))]`.
fn marks_test(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    let last = path
        .segments
        .last()
        .map(|segment| segment.ident.to_string());
    match last.as_deref() {
        Some("test") => true,
        Some("cfg") => attribute.meta.require_list().is_ok_and(|list| {
            tokens(&list.tokens.to_string())
                .iter()
                .any(|t| t.text == "test")
        }),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let lines = item.span().start().line..=item.span().end().line;
        self.test(&item.attrs, lines);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.attrs, &item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn comments_and_strings_are_not_code() {
    let file = File::new("a.rs", "// a::b\nconst X: &str = \"a::b\";\nuse a::b;\n");
    let parsed = Parsed::of(&file).expect("it parses");
    assert_eq!(parsed.find("a::b"), [3]);
}

#[test]
fn functions_are_measured_and_tests_are_known() {
    let text = "fn one() {\n}\n#[cfg(test)]\nmod t {\n    #[test]\n    fn two() {}\n}\n";
    let parsed = Parsed::of(&File::new("a.rs", text)).expect("it parses");
    let names: Vec<&str> = parsed.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(parsed.functions[0].lines, 1..=2);
    assert!(!parsed.is_test(1) && parsed.is_test(6));
}

#[test]
fn a_broken_file_is_a_finding() {
    let findings = parsed(&File::new("a.rs", "fn ("), |_| Vec::new());
    assert_eq!(findings.len(), 1);
}
