//! Saves a checkpoint of each of the sizes in `SIZES` (bytes, with commas between), loads it again, and tells
//! what came of it.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::{
    checkpoint::{self, SaveError},
    leadership,
};

struct CheckpointSizes;

impl Guest for CheckpointSizes {
    fn on_start_leading(_: Term) -> Result<(), String> {
        let sizes = std::env::var("SIZES").map_err(|error| format!("SIZES: {error}"))?;
        for size in sizes.split(',') {
            let size = size.parse().map_err(|error| format!("SIZES={sizes}: {error}"))?;
            // Every byte there is.
            let state: Vec<u8> = (0..size).map(|index| index as u8).collect();
            match checkpoint::save(&state) {
                Ok(()) => println!("saved {size}"),
                Err(SaveError::TooLarge(max)) => println!("{size} is too large, {max} is not"),
                Err(error) => println!("{size}: {error:?}"),
            }
            match checkpoint::load() {
                Some(loaded) if loaded == state => println!("loaded the same"),
                loaded => println!("loaded {:?}", loaded.map(|loaded| loaded.len())),
            }
        }
        leadership::subscribe_stop().block();
        Ok(())
    }
}

export!(CheckpointSizes);
