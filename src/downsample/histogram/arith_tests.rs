//! Against maps from bucket numbers to counts.

use proptest::prelude::*;

use super::super::test_support::Model;
use super::*;

fn models() -> impl Strategy<Value = Model> {
    let counts = || prop::collection::btree_map(-20_i64..40, (0_u32..9).prop_map(f64::from), 0..12);
    (counts(), counts(), 0_u32..9, 0_u32..9).prop_map(|(positive, negative, zero, more)| Model {
        schema: 3,
        threshold: 2f64.powi(-10),
        zero: f64::from(zero),
        count: f64::from(zero + more),
        positive,
        negative,
        gauge: false,
        bounds: Vec::new(),
    })
}

fn grid() -> Grid {
    Grid::new(3, 2f64.powi(-10), true)
}

proptest! {
    #[test]
    fn sums_are_those_of_the_buckets(a in models(), b in models(), odd: (bool, bool)) {
        let mut to = a.histogram(odd.0);
        Arith::default().add(&mut to, &b.histogram(odd.1), &grid()).unwrap();
        prop_assert_eq!(Model::of(&to), a.plus(&b, 1.0));
    }

    #[test]
    fn increases_are_those_of_the_buckets(
        a in models(), last in models(), next in models(), same: bool, odd: bool,
    ) {
        // Both the way for equal layouts and that for all others.
        let last = if same { next.clone() } else { last };
        let a = if same { next.plus(&last, 1.0) } else { a };
        let mut to = a.histogram(odd);
        let (last_h, next_h) = (last.histogram(odd), next.histogram(odd));
        Arith::default().add_increase(&mut to, &next_h, &last_h, &grid()).unwrap();
        let expected = a.plus(&next.plus(&last, -1.0), 1.0);
        prop_assert_eq!(Model::of(&to), expected);
    }

    #[test]
    fn a_reset_is_a_count_that_went_down(
        last in models(), grown in models(), at in any::<prop::sample::Index>(),
        odd: (bool, bool), fall: bool,
    ) {
        let mut next = last.plus(&grown, 1.0).tidy();
        if fall && !last.positive.is_empty() {
            let number = *last.positive.keys().nth(at.index(last.positive.len())).unwrap();
            let now = next.positive.get(&number).copied().unwrap_or_default();
            next.positive.insert(number, now / 2.0);
        }
        let found = is_reset(&last.histogram(odd.0), &next.histogram(odd.1), &grid());
        prop_assert_eq!(found, last.is_reset_to(&next));
    }

    #[test]
    fn coarser_is_by_bucket_bounds(a in models(), schema in 0_i32..=3, wider in -10_i32..6, odd: bool) {
        let threshold = 2f64.powi(wider);
        let grid = Grid::new(schema, threshold, false);
        let mut h = a.histogram(odd);
        Arith::default().bring(&mut h, &grid).unwrap();
        prop_assert_eq!(Model::of(&h).tidy(), a.at(schema, threshold).tidy());
    }
}

#[test]
fn new_buckets_go_where_upstream_puts_them() {
    let spans = |list: &[(i32, u32)]| -> Vec<Span> {
        let span = |&(offset, length): &(i32, u32)| Span { offset, length };
        list.iter().map(span).collect()
    };
    let number = |spans: &[Span]| spans.iter().map(|s| s.length as usize).sum::<usize>();
    for (to, other, expected) in [
        // Behind a span, before the next one, neither, both.
        (&[(0, 2), (3, 2)][..], &[(2, 1)][..], &[(0, 3), (2, 2)][..]),
        (&[(0, 2), (3, 2)], &[(4, 1)], &[(0, 2), (2, 3)]),
        (&[(0, 2), (3, 2)], &[(3, 1)], &[(0, 2), (1, 1), (1, 2)]),
        (&[(0, 2), (1, 2)], &[(2, 1)], &[(0, 3), (0, 2)]),
        // In front of all, behind all, into nothing.
        (&[(5, 1)], &[(4, 1)], &[(4, 2)]),
        (&[(5, 1)], &[(3, 2)], &[(3, 2), (0, 1)]),
        (&[(5, 1)], &[(8, 1)], &[(5, 1), (2, 1)]),
        (&[], &[(8, 2)], &[(8, 2)]),
        // An empty span, as clients write for histograms without buckets.
        (&[(0, 0)], &[(0, 1)], &[(0, 1)]),
        (&[(0, 0)], &[(1, 2)], &[(0, 0), (1, 2)]),
    ] {
        let (to, other) = (spans(to), spans(other));
        let mut h = FloatHistogram {
            positive_buckets: vec![1.0; number(&to)],
            positive_spans: to,
            ..FloatHistogram::default()
        };
        let more = FloatHistogram {
            positive_buckets: vec![1.0; number(&other)],
            positive_spans: other,
            ..FloatHistogram::default()
        };
        let grid = Grid::new(0, 0.0, true);
        Arith::default().add(&mut h, &more, &grid).unwrap();
        assert_eq!(h.positive_spans, spans(expected));
        assert_eq!(h.positive_buckets.len(), number(&h.positive_spans));
    }
}

#[test]
fn buckets_within_the_zero_bucket_are_not_added() {
    let grid = Grid::new(0, 1.0, true);
    let spans = vec![Span {
        offset: -1,
        length: 3,
    }];
    let h = FloatHistogram {
        zero_threshold: 1.0,
        positive_spans: spans,
        positive_buckets: vec![1.0, 2.0, 4.0],
        ..FloatHistogram::default()
    };
    let mut sum = h.clone();
    Arith::default().add(&mut sum, &h, &grid).unwrap();
    assert_eq!(sum.positive_buckets, [1.0, 2.0, 8.0]);
    // Nor do they tell of a reset.
    let mut less = h.clone();
    less.positive_buckets[1] = 0.0;
    assert!(!is_reset(&h, &less, &grid));
    less.positive_buckets[2] = 3.0;
    assert!(is_reset(&h, &less, &grid));
}

#[test]
fn buckets_that_no_span_can_reach_are_an_error() {
    let at = |offset| FloatHistogram {
        positive_spans: vec![Span { offset, length: 1 }],
        positive_buckets: vec![1.0],
        ..FloatHistogram::default()
    };
    let mut to = at(i32::MAX - 1);
    let grid = Grid::new(0, 0.0, true);
    let mut arith = Arith::default();
    // Left out, since it lies within the zero bucket of width 0.
    arith.add(&mut to, &at(i32::MIN), &grid).unwrap();
    let mut custom = FloatHistogram {
        schema: CUSTOM_SCHEMA,
        ..at(i32::MAX - 1)
    };
    let grid = Grid::new(CUSTOM_SCHEMA, 0.0, true);
    let error = arith.add(&mut custom, &at(i32::MIN), &grid).unwrap_err();
    assert!(error.to_string().contains("too far apart"), "{error}");
}
