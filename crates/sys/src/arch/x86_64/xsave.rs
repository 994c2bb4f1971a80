//! The XSAVE area in the standard format (Intel SDM 1, 13.4): how that of one processor becomes that of another.

/// Length of the legacy region and the header: every area has at least these.
const HEADER_END: usize = 576;

/// The area for a processor whose areas are `len` bytes long. Features beyond the end of a short area are not marked
/// as in use in its header, and so take their initial state. Of a long one the end is cut; if it held a feature in
/// use, the header says so, and the kernel refuses it.
pub fn fit(area: &[u8], len: usize) -> Vec<u8> {
    let mut fitted = area.to_vec();
    if area.len() >= HEADER_END && len >= HEADER_END {
        fitted.resize(len, 0);
    }
    fitted
}
