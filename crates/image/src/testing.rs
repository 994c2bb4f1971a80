//! For tests and fuzzers: makes the checksums of a damaged image right again, so that what lies behind them is reached.
