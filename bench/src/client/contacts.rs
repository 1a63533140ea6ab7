//! Sample contact files: the same seed gives the same file.

use std::fmt::Write;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A domain and its share of the contacts, in thousandths.
pub type Share = (&'static str, u32);

/// Sizes as they are met: a few big destinations, a tail, and some that answer late, not yet, or never (the sink knows them by
/// their names).
pub const VARIED: &[Share] = &[
    ("orchard.test", 240),
    ("harbor.test", 200),
    ("meadow.test", 160),
    ("lantern.test", 120),
    ("juniper.test", 80),
    ("copper.test", 55),
    ("willow.test", 35),
    ("greylist.test", 30),
    ("busy.test", 20),
    ("bounce.test", 15),
    ("slow.test", 10),
    ("reject.test", 10),
    ("flaky.test", 5),
    ("quill-1.test", 5),
    ("quill-2.test", 5),
    ("quill-3.test", 4),
    ("quill-4.test", 3),
    ("quill-5.test", 2),
    ("quill-6.test", 1),
];

/// Twenty healthy destinations of equal size: no cap of one of them bounds the whole.
pub const EVEN: &[Share] = &[
    ("north-1.test", 50),
    ("north-2.test", 50),
    ("north-3.test", 50),
    ("north-4.test", 50),
    ("north-5.test", 50),
    ("east-1.test", 50),
    ("east-2.test", 50),
    ("east-3.test", 50),
    ("east-4.test", 50),
    ("east-5.test", 50),
    ("south-1.test", 50),
    ("south-2.test", 50),
    ("south-3.test", 50),
    ("south-4.test", 50),
    ("south-5.test", 50),
    ("west-1.test", 50),
    ("west-2.test", 50),
    ("west-3.test", 50),
    ("west-4.test", 50),
    ("west-5.test", 50),
];

const FIRST: &[&str] = &[
    "Ada",
    "Bruno",
    "Carmen",
    "Dmitri",
    "Elif",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jürgen",
    "Kofi",
    "Lucía",
    "Mei",
    "Ngọc",
    "Oluwaseun",
    "Priya",
    "Quentin",
    "Rosa",
    "Søren",
    "Tereza",
    "Uma",
    "Vera",
    "Wanda",
    "Ximena",
    "Yusuf",
    "Zoë",
];
const LAST: &[&str] = &[
    "Alder",
    "Birch",
    "Castaño",
    "Dubois",
    "Eriksen",
    "Fontaine",
    "García",
    "Hoffmann",
    "Ito",
    "Janssen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "O'Neill",
    "Petrov",
    "Quinn",
    "Rossi",
    "Silva",
    "Tanaka",
    "Ursini",
    "Vega",
    "Weiss",
    "Yılmaz",
    "Zhang",
];
const CITIES: &[&str] = &["Lisbon", "Bergen", "Kyoto", "Accra", "Montréal", "Valparaíso", "Gdańsk", "Izmir"];

/// A CSV file of `count` contacts with the columns `email`, `name`, `city` and `visits`.
#[must_use]
pub fn csv(seed: u64, count: usize, shares: &[Share]) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let total: u32 = shares.iter().map(|(_, share)| share).sum();
    let mut file = String::with_capacity(count * 64);
    file.push_str("email,name,city,visits\n");
    for index in 0..count {
        let mut point = random.random_range(0..total);
        let domain = shares
            .iter()
            .find_map(|(domain, share)| {
                let here = point < *share;
                point = point.saturating_sub(*share);
                here.then_some(*domain)
            })
            .unwrap_or("orchard.test");
        let first = FIRST[random.random_range(0..FIRST.len())];
        let last = LAST[random.random_range(0..LAST.len())];
        let city = CITIES[random.random_range(0..CITIES.len())];
        let visits: u8 = random.random_range(0..40);
        // Writing to a String cannot fail.
        let _ = writeln!(file, "reader-{index}@{domain},{first} {last},{city},{visits}");
    }
    file.into_bytes()
}

/// A CSV file of `count` contacts with the columns `email`, `name`, `city`, `plan` and `visits`, for 20 domains; files of another
/// `batch` have other addresses.
#[must_use]
pub fn wide_csv(batch: u64, count: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(batch);
    let mut file = String::with_capacity(count * 80);
    file.push_str("email,name,city,plan,visits\n");
    for index in 0..count {
        let first = FIRST[random.random_range(0..FIRST.len())];
        let last = LAST[random.random_range(0..LAST.len())];
        let (domain, _) = EVEN[random.random_range(0..EVEN.len())];
        let city = CITIES[random.random_range(0..CITIES.len())];
        let plan = ["free", "season", "year"][random.random_range(0..3)];
        let visits: u8 = random.random_range(0..40);
        let scattered: u16 = random.random();
        // Writing to a String cannot fail.
        let _ = writeln!(file, "reader{scattered:04x}.{batch}.{index}@{domain},{first} {last},{city},{plan},{visits}");
    }
    file.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_file() {
        assert_eq!(csv(7, 500, VARIED), csv(7, 500, VARIED));
        assert_ne!(csv(7, 500, VARIED), csv(8, 500, VARIED));
    }

    #[test]
    fn shares_are_kept() {
        assert_eq!(VARIED.iter().map(|(_, share)| share).sum::<u32>(), 1000);
        let file = String::from_utf8(csv(1, 10_000, VARIED)).expect("a text");
        let orchard = file.lines().filter(|line| line.contains("@orchard.test,")).count();
        assert!((2200..2600).contains(&orchard), "{orchard} of 10000 are 240 in a thousand");
        assert_eq!(file.lines().count(), 10_001);
    }
}
