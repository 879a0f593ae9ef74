//! `custody.json`: the order of the members that keep for a device.

use super::{array, bytes, cases, pin};
use crate::custody::place;
use crate::id::DeviceFp;
use crate::tests::json::{Json, hex, object};
use crate::tests::world::{self, key};

/// Sixteen salts that differ little, and three that differ much.
fn salts() -> Vec<Vec<u8>> {
    let near = (0..16u8).map(|n| [vec![0; 15], vec![n]].concat());
    let far = [vec![0xff; 16], vec![0x80; 16], (0..16).collect()];
    near.chain(far).collect()
}

fn order(recipient: DeviceFp, salts: &[Vec<u8>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..salts.len()).collect();
    order.sort_by_key(|index| place(recipient, &salts[*index]));
    order
}

#[test]
fn the_order_of_those_that_keep() {
    let carol = key(world::CAROL_DEVICE).verify_key().device_fp();
    let alice = key(world::ALICE_DEVICE).verify_key().device_fp();
    let salts = salts();
    let places = [carol, alice].into_iter().flat_map(|recipient| {
        let of = move |salt: &Vec<u8>| {
            object! { "recipient": hex(recipient.0), "salt": hex(salt),
            "place": hex(place(recipient, salt)) }
        };
        salts.iter().take(2).map(of).collect::<Vec<Json>>()
    });
    let orders = [carol, alice].into_iter().map(|recipient| {
        let order = order(recipient, &salts).into_iter();
        object! { "recipient": hex(recipient.0),
        "salts": salts.iter().map(|salt| Json::from(hex(salt))).collect::<Vec<Json>>(),
        "order": order.map(|index| Json::from(index as i64)).collect::<Vec<Json>>() }
    });
    let file = pin(
        "custody.json",
        &object! {
            "about": "places: where the member with this membership salt stands in the order for \
                      the recipient device. orders: indexes of the salts, the first to ask first.",
            "places": places.collect::<Vec<Json>>(),
            "orders": orders.collect::<Vec<Json>>(),
        },
    );
    for case in cases(&file, "places") {
        let recipient = DeviceFp(array(case, "recipient"));
        assert_eq!(place(recipient, &bytes(case, "salt")), array(case, "place"));
    }
    for case in cases(&file, "orders") {
        let recipient = DeviceFp(array(case, "recipient"));
        let salts: Vec<Vec<u8>> = cases(case, "salts")
            .iter()
            .filter_map(|salt| salt.as_str())
            .map(|salt| {
                data_encoding::HEXLOWER
                    .decode(salt.as_bytes())
                    .expect("hex")
            })
            .collect();
        let said = cases(case, "order")
            .iter()
            .filter_map(|index| index.as_u64());
        let found = order(recipient, &salts)
            .into_iter()
            .map(|index| index as u64);
        assert!(found.eq(said));
    }
}
