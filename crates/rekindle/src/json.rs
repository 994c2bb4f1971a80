//! How records show in JSON: bytes that are names as text, bytes that are not as their number.

use serde::Serializer;

/// A path or name: text where it is UTF-8, escaped where it is not.
pub(crate) fn path<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::refusal::show(bytes))
}

/// Paths or names.
pub(crate) fn paths<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|bytes| crate::refusal::show(bytes)))
}

/// Contents: `<N bytes>`.
pub(crate) fn size<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("<{} bytes>", bytes.len()))
}

/// Contents, repeated.
pub(crate) fn sizes<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|bytes| format!("<{} bytes>", bytes.len())))
}
