//! Axes as sums of products of symbols, and what is known to be equal.
//!
//! An axis is an ordered **sum** of segments (what `Concat` joins, `Split` and `Slice` part), and a segment an ordered
//! **product** of symbols, outermost first (what `Reshape` merges and parts). Symbols live in a union-find. A symbol may
//! later turn out to be a sum or a product itself; then it is refined, and every axis that holds it follows.

use crate::Dim;

/// An index range that is cut as a whole: a channel axis, the heads of an attention, one input of a `Concat`.
pub(crate) type Symbol = usize;

/// A product of symbols, outermost first; the empty product has length 1.
pub(crate) type Segment = Vec<Symbol>;

/// A sum of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Axis(pub(crate) Vec<Segment>);

impl Axis {
    /// The axis of length 1, which no symbol stands for.
    pub(crate) fn one() -> Self {
        Self(vec![Segment::new()])
    }

    pub(crate) fn of(symbol: Symbol) -> Self {
        Self(vec![vec![symbol]])
    }

    /// This axis with `other` behind it.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

#[derive(Debug, Clone)]
enum Meaning {
    /// Nothing finer is known.
    Leaf,
    /// The same as another symbol.
    Same(Symbol),
    /// A sum of segments; a single segment is a plain product.
    Parts(Vec<Segment>),
}

#[derive(Debug)]
struct Entry {
    length: Dim,
    meaning: Meaning,
    frozen: Option<String>,
}

/// All symbols of an analysis.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    entries: Vec<Entry>,
}

/// What one step towards equality did.
enum Step {
    /// Nothing is left to do.
    Done,
    /// Symbols were joined or refined: look again.
    Again,
    /// The two cannot be shown equal.
    Differ,
}

impl Symbols {
    /// A new axis of a length nothing is known about yet.
    pub(crate) fn fresh(&mut self, length: Dim) -> Axis {
        if length == Dim::Static(1) { Axis::one() } else { Axis::of(self.leaf(length, None)) }
    }

    /// A new axis that must stay as it is.
    pub(crate) fn fresh_frozen(&mut self, length: Dim, reason: &str) -> Axis {
        let axis = self.fresh(length);
        self.freeze(&axis, reason);
        axis
    }

    fn leaf(&mut self, length: Dim, frozen: Option<String>) -> Symbol {
        self.entries.push(Entry { length, meaning: Meaning::Leaf, frozen });
        self.entries.len() - 1
    }

    /// The length of an axis, when it is always the same.
    pub(crate) fn length(&self, axis: &Axis) -> Option<usize> {
        axis.0.iter().map(|segment| self.segment_length(segment)).sum()
    }

    pub(crate) fn segment_length(&self, segment: &[Symbol]) -> Option<usize> {
        segment.iter().map(|&symbol| self.entries[symbol].length.size()).product()
    }

    /// The length of one symbol, when it is always the same.
    pub(crate) fn symbol_length(&self, symbol: Symbol) -> Option<usize> {
        self.entries[symbol].length.size()
    }

    /// Why a resolved symbol must stay as it is.
    pub(crate) fn frozen(&self, symbol: Symbol) -> Option<&str> {
        self.entries[symbol].frozen.as_deref()
    }

    /// Keeps every symbol of an axis as it is; the first reason given stays.
    pub(crate) fn freeze(&mut self, axis: &Axis, reason: &str) {
        for symbol in self.resolve(axis).0.into_iter().flatten() {
            self.entries[symbol].frozen.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// The axis in terms of symbols nothing finer is known about.
    pub(crate) fn resolve(&mut self, axis: &Axis) -> Axis {
        Axis(axis.0.iter().flat_map(|segment| self.expand(segment)).collect())
    }

    fn expand(&mut self, segment: &[Symbol]) -> Vec<Segment> {
        let mut sum = vec![Segment::new()];
        for &symbol in segment {
            let parts = self.parts(symbol);
            match (sum.as_slice(), parts.as_slice()) {
                // (a + b) · c = a·c + b·c holds for ordered products: the outer index picks the part.
                (_, [part]) => sum.iter_mut().for_each(|product| product.extend(part)),
                ([outer], _) if outer.is_empty() => sum = parts,
                // c · (a + b) interleaves the parts; there is no such sum of segments.
                _ => return vec![vec![self.interleaved(segment)]],
            }
        }
        sum
    }

    /// What a symbol is made of by now. The answer replaces the steps that led to it, so chains stay short.
    fn parts(&mut self, symbol: Symbol) -> Vec<Segment> {
        let parts = match self.entries[symbol].meaning.clone() {
            Meaning::Leaf => return vec![vec![symbol]],
            Meaning::Same(other) => self.parts(other),
            Meaning::Parts(parts) => parts.iter().flat_map(|part| self.expand(part)).collect(),
        };
        self.entries[symbol].meaning = Meaning::Parts(parts.clone());
        parts
    }

    /// Gives up on a segment: all it is made of stays, and one frozen symbol stands for it.
    fn interleaved(&mut self, segment: &[Symbol]) -> Symbol {
        const REASON: &str = "parts of a concatenation are interleaved by a reshape";
        let length = self.segment_length(segment).map_or(Dim::Dynamic, Dim::Static);
        for &symbol in segment {
            self.freeze(&Axis::of(symbol), REASON);
        }
        self.leaf(length, Some(REASON.to_owned()))
    }

    /// States that two axes are index for index the same. What cannot be shown is frozen with `reason`.
    pub(crate) fn unify(&mut self, a: &Axis, b: &Axis, reason: &str) {
        loop {
            let (left, right) = (self.resolve(a), self.resolve(b));
            match self.step(&left, &right) {
                Step::Again => {}
                Step::Done => return,
                Step::Differ => {
                    self.freeze(&left, reason);
                    self.freeze(&right, reason);
                    return;
                }
            }
        }
    }

    fn step(&mut self, left: &Axis, right: &Axis) -> Step {
        let Some(at) = left.0.iter().zip(&right.0).position(|(a, b)| a != b) else {
            return if left.0.len() == right.0.len() { Step::Done } else { Step::Differ };
        };
        let (a, b) = (&left.0[at], &right.0[at]);
        match (self.segment_length(a), self.segment_length(b), a.as_slice(), b.as_slice()) {
            (None, None, &[x], &[y]) => self.join(x, y),
            (Some(m), Some(n), ..) if m == n => self.step_product(a, b),
            (Some(m), Some(n), &[x], _) if m > n => self.part(x, m, &right.0[at..]),
            (Some(m), Some(n), _, &[y]) if n > m => self.part(y, n, &left.0[at..]),
            _ => Step::Differ,
        }
    }

    /// Two products of equal length: the first factors that differ become one, or the longer is split.
    fn step_product(&mut self, a: &[Symbol], b: &[Symbol]) -> Step {
        let Some((&x, &y)) = a.iter().zip(b).find(|(x, y)| x != y) else { return Step::Differ };
        match (self.symbol_length(x), self.symbol_length(y)) {
            (Some(m), Some(n)) if m == n => self.join(x, y),
            (Some(m), Some(n)) if n > 0 && m % n == 0 => self.factor(x, n),
            (Some(m), Some(n)) if m > 0 && n % m == 0 => self.factor(y, m),
            _ => Step::Differ,
        }
    }

    fn join(&mut self, x: Symbol, y: Symbol) -> Step {
        let (keep, drop) = (x.min(y), x.max(y));
        let reason = self.entries[drop].frozen.take();
        self.entries[drop].meaning = Meaning::Same(keep);
        if self.entries[keep].frozen.is_none() {
            self.entries[keep].frozen = reason;
        }
        Step::Again
    }

    /// Refines a leaf of known length into an outer factor and the rest.
    pub(crate) fn split_product(&mut self, symbol: Symbol, outer: usize) -> (Symbol, Symbol) {
        let rest = self.symbol_length(symbol).unwrap_or(0) / outer.max(1);
        let frozen = self.entries[symbol].frozen.clone();
        let children = (self.leaf(Dim::Static(outer), frozen.clone()), self.leaf(Dim::Static(rest), frozen));
        self.entries[symbol].meaning = Meaning::Parts(vec![vec![children.0, children.1]]);
        children
    }

    fn factor(&mut self, symbol: Symbol, outer: usize) -> Step {
        self.split_product(symbol, outer);
        Step::Again
    }

    /// Refines a leaf into parts as long as those it meets, and what is left.
    fn part(&mut self, symbol: Symbol, length: usize, against: &[Segment]) -> Step {
        let frozen = self.entries[symbol].frozen.clone();
        let mut left = length;
        let mut lengths = Vec::new();
        for met in against.iter().map_while(|segment| self.segment_length(segment)) {
            let part = met.min(left);
            lengths.push(part);
            left -= part;
            if left == 0 {
                break;
            }
        }
        lengths.extend(Some(left).filter(|&left| left > 0));
        let mut segment =
            |length| if length == 1 { vec![] } else { vec![self.leaf(Dim::Static(length), frozen.clone())] };
        let parts = lengths.into_iter().map(&mut segment).collect();
        self.entries[symbol].meaning = Meaning::Parts(parts);
        Step::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(symbols: &mut Symbols, length: usize) -> Axis {
        symbols.fresh(Dim::Static(length))
    }

    #[test]
    fn equal_axes_share_a_symbol_and_its_reason() {
        let mut symbols = Symbols::default();
        let (a, b) = (fresh(&mut symbols, 8), fresh(&mut symbols, 8));
        symbols.freeze(&b, "graph output");
        symbols.unify(&a, &b, "unequal");
        assert_eq!(symbols.resolve(&a), symbols.resolve(&b));
        assert_eq!(symbols.frozen(symbols.entries.len() - 2), Some("graph output"));
    }

    #[test]
    fn products_meet_in_their_common_refinement() {
        let mut symbols = Symbols::default();
        let (two, twelve) = (fresh(&mut symbols, 2), fresh(&mut symbols, 12));
        let (four, six) = (fresh(&mut symbols, 4), fresh(&mut symbols, 6));
        let product = |a: &Axis, b: &Axis| Axis(vec![[a.0[0].clone(), b.0[0].clone()].concat()]);
        let (a, b) = (product(&two, &twelve), product(&four, &six));
        symbols.unify(&a, &b, "unequal");
        let a = symbols.resolve(&a);
        assert_eq!(a, symbols.resolve(&b));
        let lengths: Vec<_> = a.0[0].iter().map(|&s| symbols.symbol_length(s)).collect();
        assert_eq!(lengths, [Some(2), Some(2), Some(6)]);
        assert!(a.0[0].iter().all(|&s| symbols.frozen(s).is_none()));
    }

    #[test]
    fn a_plain_axis_takes_the_parts_of_a_concatenation() {
        let mut symbols = Symbols::default();
        let parts = fresh(&mut symbols, 3).then(fresh(&mut symbols, 5));
        let plain = fresh(&mut symbols, 8);
        symbols.unify(&plain, &parts, "unequal");
        assert_eq!(symbols.resolve(&plain), parts);
    }

    #[test]
    fn what_does_not_refine_is_frozen() {
        let mut symbols = Symbols::default();
        let (two, three) = (fresh(&mut symbols, 2), fresh(&mut symbols, 3));
        let ab = Axis(vec![vec![two.0[0][0], three.0[0][0]]]);
        let ba = Axis(vec![vec![three.0[0][0], two.0[0][0]]]);
        symbols.unify(&ab, &ba, "layouts differ");
        assert_eq!(symbols.frozen(two.0[0][0]), Some("layouts differ"));
    }

    #[test]
    fn interleaved_parts_are_given_up() {
        let mut symbols = Symbols::default();
        let (outer, inner) = (fresh(&mut symbols, 2), fresh(&mut symbols, 8));
        let product = Axis(vec![vec![outer.0[0][0], inner.0[0][0]]]);
        let parts = fresh(&mut symbols, 3).then(fresh(&mut symbols, 5));
        symbols.unify(&inner, &parts, "unequal");
        let resolved = symbols.resolve(&product);
        assert_eq!(symbols.length(&resolved), Some(16));
        assert!(symbols.frozen(parts.0[0][0]).is_some_and(|reason| reason.contains("interleaved")));
    }

    #[test]
    fn an_axis_taken_apart_slice_by_slice_stays_within_the_stack() {
        const LENGTH: usize = 1000;
        let mut symbols = Symbols::default();
        let whole = fresh(&mut symbols, LENGTH);
        for at in 1..LENGTH - 1 {
            let parts = fresh(&mut symbols, at).then(Axis::one()).then(fresh(&mut symbols, LENGTH - at - 1));
            symbols.unify(&whole, &parts, "unequal");
        }
        assert_eq!(symbols.resolve(&whole).0.len(), LENGTH);
    }
}
