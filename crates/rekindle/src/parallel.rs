//! The same work for many things, on all processors: reading what /proc tells of many processes, or of many descriptors.

use crate::error::Error;

/// How many processors there are for us.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The results for all of `items`, in their order, or the first error. A thread does a row of them one after the other, with
/// a state of its own.
pub(crate) fn map<T: Sync, S: Default, R: Send>(
    items: &[T],
    work: impl Fn(&T, &mut S) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    map_rows(items, 1, work)
}

/// As [`map`], for work so small that a thread is worth starting only for a row of `least`.
pub(crate) fn map_rows<T: Sync, S: Default, R: Send>(
    items: &[T],
    least: usize,
    work: impl Fn(&T, &mut S) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let row = |items: &[T]| -> Result<Vec<R>, Error> {
        let mut state = S::default();
        items.iter().map(|item| work(item, &mut state)).collect()
    };
    let share = items.len().div_ceil(processors()).max(least);
    let mut all = Vec::with_capacity(items.len());
    std::thread::scope(|scope| {
        let (own, others) = items.split_at(share.min(items.len()));
        let row = &row;
        let others: Vec<_> = others.chunks(share).map(|items| scope.spawn(move || row(items))).collect();
        all.extend(row(own)?);
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        let numbers: Vec<u32> = (0..1000).collect();
        let doubled = map(&numbers, |n, _: &mut ()| Ok(n * 2));
        assert_eq!(doubled.ok(), Some(numbers.iter().map(|n| n * 2).collect()));
        assert_eq!(map(&[] as &[u32], |n, _: &mut ()| Ok(*n)).ok(), Some(Vec::new()));
        let failed = map(&numbers, |n, _: &mut ()| if *n == 777 { Err(Error::Interrupted) } else { Ok(*n) });
        assert!(matches!(failed, Err(Error::Interrupted)));
        let in_one_row = map_rows(&numbers, 2000, |n, _: &mut ()| Ok(*n));
        assert_eq!(in_one_row.ok(), Some(numbers));
    }
}
