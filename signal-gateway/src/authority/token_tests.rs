//! Tokens under test: the cache. Forged tokens are tested over the wire, in `tests/it/tokens.rs`.

use super::*;

#[test]
fn the_cache_is_bounded_and_forgets_what_has_ended() {
    let mut cache = TokenCache {
        found: BTreeMap::new(),
        capacity: 2,
    };
    cache.put([1; 32], 100, "a", 0);
    assert_eq!(cache.get(&[1; 32], 99), Some("a"));
    assert_eq!(cache.get(&[1; 32], 100), None, "it has ended");
    cache.put([2; 32], 200, "b", 0);
    cache.put([3; 32], 300, "c", 150);
    assert_eq!(
        (cache.get(&[1; 32], 0), cache.get(&[2; 32], 150)),
        (None, Some("b"))
    );
    cache.put([4; 32], 400, "d", 150);
    assert_eq!(
        cache.found.len(),
        1,
        "full of living ones: all are forgotten"
    );
    cache.clear();
    assert_eq!(cache.get(&[4; 32], 150), None);
}

#[test]
fn a_token_that_is_too_long_has_no_key() {
    let key = |len| TokenCache::<()>::key(&"x".repeat(len));
    assert!(key(TOKEN_LEN_MAX).is_some() && key(TOKEN_LEN_MAX + 1).is_none());
    assert_ne!(key(1), key(2));
}
