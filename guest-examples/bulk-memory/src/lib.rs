//! Fills 32 MiB again and again: each fill is one `memory.fill`, which no epoch check divides.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

const BYTES: usize = 32 << 20;

struct BulkMemory;

impl Guest for BulkMemory {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let mut memory = vec![0u8; BYTES];
        println!("filling {BYTES} bytes, token {}", term.token);
        let mut round = 0u8;
        loop {
            std::hint::black_box(&mut memory).fill(round);
            round = round.wrapping_add(1);
        }
    }
}

export!(BulkMemory);
