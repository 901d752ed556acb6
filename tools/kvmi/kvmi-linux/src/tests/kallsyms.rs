// SPDX-License-Identifier: GPL-2.0

use crate::kallsyms::find;

/// Where the image lies that is made here.
pub const BASE: u64 = 0xffff_ffff_8220_0000;

/// How addresses are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Places,
    Base,
    Percpu,
    Before,
}

fn align(image: &mut Vec<u8>) {
    image.resize(image.len().next_multiple_of(4), 0);
}

/// Characters stand for themselves, and what is unused for two of them.
fn tokens() -> Vec<String> {
    (0u8..=255)
        .map(|code| match code {
            b'!'..=b'~' => char::from(code).to_string(),
            200 => "sy".to_owned(),
            201 => "m_".to_owned(),
            _ => String::new(),
        })
        .collect()
}

fn compress(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    for (code, pair) in [(200, b"sy"), (201, b"m_")] {
        while let Some(at) = bytes.windows(2).position(|two| two == pair) {
            bytes.splice(at..at + 2, [code]);
        }
    }
    bytes
}

fn offset(form: Form, address: u64, first: u64, place: u64) -> i32 {
    match form {
        Form::Places => address.wrapping_sub(place) as i32,
        Form::Base => address.wrapping_sub(first) as i32,
        Form::Percpu | Form::Before if address < 1 << 31 => address as i32,
        Form::Percpu | Form::Before => -1 - (address - first) as i32,
    }
}

/// Adds the tables to an image that is mapped at [`BASE`].
pub fn add(image: &mut Vec<u8>, symbols: &[(u64, String)], form: Form) {
    let first = symbols.iter().map(|(address, _)| *address);
    let first = first.filter(|address| *address >= 1 << 31).min().unwrap();
    let offsets = |image: &mut Vec<u8>, relative: bool| {
        for (address, _) in symbols {
            let place = BASE + image.len() as u64;
            let stored = offset(form, *address, first, place);
            image.extend(stored.to_le_bytes());
        }
        image.resize(image.len().next_multiple_of(8), 0);
        if relative {
            image.extend(first.to_le_bytes());
        }
    };
    align(image);
    if form == Form::Before {
        image.resize(image.len().next_multiple_of(8), 0);
        offsets(image, true);
    }
    image.extend((symbols.len() as u32).to_le_bytes());
    let (start, mut markers) = (image.len(), Vec::new());
    for (index, (_, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push((image.len() - start) as u32);
        }
        let name = compress(&format!("T{name}"));
        match name.len() {
            size @ ..=127 => image.push(size as u8),
            size => image.extend([size as u8 | 0x80, (size >> 7) as u8]),
        }
        image.extend(name);
    }
    align(image);
    image.extend(markers.iter().flat_map(|marker| marker.to_le_bytes()));
    let (start, mut index) = (image.len(), Vec::new());
    for token in tokens() {
        index.extend(((image.len() - start) as u16).to_le_bytes());
        image.extend(token.bytes().chain([0]));
    }
    align(image);
    image.extend(index);
    if form != Form::Before {
        offsets(image, form != Form::Places);
    }
}

/// So many symbols with one name that is long.
pub fn symbols(count: u64) -> Vec<(u64, String)> {
    let name = |index| match index {
        5 => format!("long_{}", "x".repeat(300)),
        index => format!("sym_{index}"),
    };
    let start = BASE - 0x120_0000;
    (0..count)
        .map(|index| (start + 16 * index, name(index)))
        .collect()
}

#[test]
fn tables_of_every_form() {
    for form in [Form::Places, Form::Base, Form::Percpu, Form::Before] {
        for count in [257, 512, 700] {
            let mut all = symbols(count);
            if matches!(form, Form::Percpu | Form::Before) {
                all.insert(0, (0x1000, "percpu".to_owned()));
            }
            let mut image = vec![0x5a; 0x2345];
            add(&mut image, &all, form);
            image.extend([0xa5; 999]);
            let found = find(&image, BASE).unwrap_or_else(|| panic!("{form:?} {count}"));
            assert_eq!(found.len(), all.len());
            for (address, name) in &all {
                assert_eq!(found.address(name), Some(*address), "{form:?}");
                assert_eq!(found.at(*address).unwrap().name, name);
            }
        }
    }
}

#[test]
fn addresses_between_symbols() {
    let mut image = Vec::new();
    let mut all = symbols(300);
    let shared = (all[7].0, "alias".to_owned());
    all.insert(8, shared);
    add(&mut image, &all, Form::Places);
    let found = find(&image, BASE).unwrap();
    let place = found.at(all[7].0 + 9).unwrap();
    assert_eq!(place.to_string(), "sym_7+0x9");
    assert_eq!(found.address("alias"), Some(all[7].0));
    assert_eq!(found.versions("alias"), [all[7].0]);
    assert_eq!(found.versions("sym"), []);
    assert_eq!(found.end(all[7].0), Some(all[9].0));
    assert_eq!(found.at(all[0].0 - 1), None);
    assert_eq!(found.end(all[300].0), None);
}

#[test]
fn what_is_damaged_is_not_found() {
    let mut whole = vec![0; 64];
    add(&mut whole, &symbols(600), Form::Places);
    assert!(find(&whole, BASE).is_some());
    // Each table, cut off at its end or changed, leaves nothing.
    for size in (0..whole.len()).step_by(97) {
        assert!(find(&whole[..size], BASE).is_none(), "{size}");
    }
    let mut other = whole.clone();
    other[64] ^= 1;
    assert!(find(&other, BASE).is_none(), "the number of symbols");
    let end = whole.len() - 4;
    let mut other = whole.clone();
    other[end..].copy_from_slice(&i32::MIN.to_le_bytes());
    assert!(find(&other, BASE).is_none(), "the last address");
    assert!(find(&[], BASE).is_none());
    assert!(find(&vec![0; 5000], BASE).is_none());
    let rising: Vec<u8> = (0u16..5000).flat_map(u16::to_le_bytes).collect();
    assert!(find(&rising, BASE).is_none());
}
