//! One container's tar on its way to another.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::rules::Plan;

/// Passes the entries on under their new names.
pub(crate) fn relay(from: impl Read, to: impl Write, plan: &Plan) -> io::Result<()> {
    let mut out = tar::Builder::new(to);
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = relative(plan.rename(&entry.path_bytes()));
        let name = Path::new(OsStr::from_bytes(&name));
        let mut header = entry.header().clone();
        // Names and sizes are in the header; everything else stays beside it.
        let kept = match entry.pax_extensions()? {
            None => Vec::new(),
            Some(extensions) => extensions
                .filter_map(Result::ok)
                .filter_map(|e| Some((e.key().ok()?.to_owned(), e.value_bytes().to_owned())))
                .filter(|(key, _)| !matches!(key.as_str(), "path" | "linkpath" | "size"))
                .collect(),
        };
        if !kept.is_empty() {
            out.append_pax_extensions(kept.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        }
        match entry.link_name_bytes() {
            Some(link) => {
                let hard = header.entry_type().is_hard_link();
                let link = if hard { relative(plan.rename(&link)) } else { link.into_owned() };
                super::append_link(&mut out, &mut header, name, &link)?;
            }
            None => {
                header.set_size(entry.size());
                out.append_data(&mut header, name, &mut entry)?;
            }
        }
    }
    out.into_inner()?.flush()
}

/// The names of a tar of the root directory begin with a slash; without it they mean the same.
fn relative(name: Vec<u8>) -> Vec<u8> {
    let start = name.iter().take_while(|byte| **byte == b'/').count();
    if start == name.len() { b"./".to_vec() } else { name[start..].to_vec() }
}
