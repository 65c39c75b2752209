//! Makes the witness on the plugin's side and compares it on the host's.

#![allow(unsafe_code)]

use crate::mirror::{Contract, Root, RootRef};
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityErrors, ExpectedFound, check_layout_compatibility,
};
use abi_stable::library::{
    AbiHeader, AbiHeaderRef, CheckTypeLayout, LibHeader, LibraryError, RootModule, RootModuleResult,
};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::{TLField, TLFieldOrFunction};
use std::ffi::c_void;

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}

    const BASE_NAME: &'static str = "tenon_plugin";
    const NAME: &'static str = "tenon_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// The static that a plugin exports.
pub const fn header() -> LibHeader {
    // SAFETY: `root` answers with a `RootRef`, which is the module type named here.
    unsafe { LibHeader::from_constructor::<RootRef>(root, CheckTypeLayout::Yes) }
}

/// The root module. Tenon never asks for it; another user of abi_stable may.
extern "C" fn root() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| Root { contract: nothing }.leak_into_prefix())
}

extern "C" fn nothing(_: *const Contract) {}

/// What a plugin's witness says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The plugin was built for the same layout.
    Agrees,
    /// There is nothing to compare, for the reason given; the plugin is to be taken by the C contract alone.
    Absent(String),
}

/// Compares the witness of a plugin with the layout that this build knows.
///
/// The error says in at most three lines what differs, and the plugin must not be entered. A witness made by another
/// version of abi_stable cannot be read: that is [`Witness::Absent`], worth a warning.
///
/// # Safety
/// `header` is the address of the static [`crate::SYMBOL`] of a library that stays mapped until the process ends.
pub unsafe fn check(header: *const c_void) -> Result<Witness, String> {
    let header = header.cast::<AbiHeader>();
    if header.is_null() || !header.is_aligned() {
        return Ok(Witness::Absent("the witness has no usable address".to_owned()));
    }
    // SAFETY: by the caller the static is there; `AbiHeaderRef` is a transparent reference, and the header that it
    // refers to is the part of the static that is the same in all versions of abi_stable.
    let header = unsafe { std::mem::transmute::<&'static AbiHeader, AbiHeaderRef>(&*header) };
    let plugin = match header.upgrade() {
        Ok(plugin) => plugin,
        Err(LibraryError::InvalidAbiHeader(found)) => return Ok(Witness::Absent(other_abi_stable(&found))),
        Err(_) => return Err("the plugin's compiler passes C values in another way; rebuild the plugin".to_owned()),
    };
    let Some(layout) = plugin.layout() else {
        return Ok(Witness::Absent("the plugin exports a witness without a layout".to_owned()));
    };
    match check_layout_compatibility(RootRef::LAYOUT, layout) {
        Ok(()) => Ok(Witness::Agrees),
        Err(errors) => Err(refusal(&errors)),
    }
}

fn other_abi_stable(found: &AbiHeader) -> String {
    let AbiHeader { abi_major, abi_minor, .. } = AbiHeader::VALUE;
    format!(
        "its witness was made by abi_stable {}.{}, this host reads {abi_major}.{abi_minor}",
        found.abi_major, found.abi_minor
    )
}

/// What differs, in three lines; abi_stable's own report has hundreds.
fn refusal(errors: &AbiInstabilityErrors) -> String {
    // The checker walks from the root down and notes every level; the innermost one names the field.
    let innermost = errors.errors.iter().rev().find_map(|error| Some((&error.stack_trace, error.errs.first()?)));
    let (place, difference) = innermost.map(|(trace, error)| (path(trace), difference(error))).unwrap_or_default();
    let place = if place.is_empty() { "contract" } else { &place };
    format!(
        "the plugin was built for another layout of the plugin contract\n\
         {place}: {difference}\n\
         build it against tenon-abi {}.{}",
        tenon_abi::ABI_MAJOR,
        tenon_abi::ABI_MINOR
    )
}

/// Where in the contract the difference is: `host_error.detail`.
fn path(trace: &[ExpectedFound<TLFieldOrFunction>]) -> String {
    let names = trace.iter().map(|step| match &step.expected {
        TLFieldOrFunction::Field(field) => field.name(),
        TLFieldOrFunction::Function(function) => function.name.as_str(),
    });
    // What a pointer points to and the places of arguments have no names of their own, only numbers and commas.
    let is_name = |name: &&str| name.starts_with(|first: char| first.is_alphabetic()) && *name != "contract";
    names.filter(is_name).collect::<Vec<_>>().join(".")
}

fn difference(error: &AbiInstability) -> String {
    use AbiInstability as Is;
    match error {
        Is::UnexpectedField(ExpectedFound { expected, found }) => {
            format!("expected the field {}, found {}", field(expected), field(found))
        }
        Is::Name(ExpectedFound { expected, found }) => format!("expected the type {expected}, found {found}"),
        Is::FieldCountMismatch(ExpectedFound { expected, found }) => {
            format!("expected {expected} fields, found {found}")
        }
        Is::Size(ExpectedFound { expected, found }) => format!("expected {expected} bytes, found {found}"),
        Is::Alignment(ExpectedFound { expected, found }) => format!("expected alignment {expected}, found {found}"),
        Is::PackageVersion(ExpectedFound { expected, found }) => {
            format!("expected version {expected} of the contract, found {found}")
        }
        other => one_line(&format!("{other:?}")),
    }
}

fn field(field: &TLField) -> String {
    format!("`{}: {}`", field.name(), field.full_type())
}

/// A long report cut to one line.
fn one_line(text: &str) -> String {
    const MOST: usize = 160;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_agrees_with_itself() {
        static HEADER: LibHeader = header();
        // SAFETY: a static of the type that the symbol has.
        let witness = unsafe { check((&raw const HEADER).cast()) };
        assert_eq!(witness, Ok(Witness::Agrees));
    }

    #[test]
    fn a_witness_of_another_abi_stable_is_no_witness() {
        #[repr(C, align(8))]
        struct Stranger([u8; 40]);
        static STRANGER: Stranger = Stranger([7; 40]);
        // SAFETY: as long and as aligned as the header that every version starts with.
        let witness = unsafe { check((&raw const STRANGER).cast()) };
        assert!(matches!(witness, Ok(Witness::Absent(reason)) if reason.contains("abi_stable")));
    }

    #[test]
    fn the_exported_name_is_the_one_that_abi_stable_looks_up() {
        assert_eq!(crate::SYMBOL, "_1as_0lib_1header_0root_bmodule_bloader");
    }

    #[test]
    fn a_long_report_becomes_one_line() {
        let line = one_line(&"a b\n".repeat(400));
        assert!(line.chars().count() <= 161 && !line.contains('\n'), "{line}");
    }
}
