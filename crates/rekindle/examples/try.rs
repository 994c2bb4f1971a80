//! try
fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a[1].as_str() {
        "c" => {
            let r = rekindle::Checkpoint::of(a[2].parse().unwrap()).kill(true).to_file(&a[3]);
            match r {
                Ok(r) => println!("{r:?}"),
                Err(e) => println!("error: {e}"),
            }
        }
        "l" => {
            let r = rekindle::Checkpoint::of(a[2].parse().unwrap()).to_file(&a[3]);
            match r {
                Ok(r) => println!("{r:?}"),
                Err(e) => println!("error: {e}"),
            }
        }
        _ => match rekindle::Restore::from_file(&a[2]).and_then(|r| r.spawn()) {
            Ok(r) => {
                println!("{r:?}");
                println!("{:?}", rekindle_sys::wait::wait_child(r.pid));
            }
            Err(e) => println!("error: {e}"),
        },
    }
}
