//! In what order a product of Jacobians is multiplied (rows C13–C16).

use serde::Serialize;

/// `Df₁·Df₂⋯Df_N` with `f_i: R^{n_i} → R^{n_{i−1}}`, given by the widths `n₀, n₁, …, n_N`.
///
/// ```
/// use cotangent_lecture::Chain;
/// let c = Chain::new(&[10, 20, 1, 20, 10]).unwrap();
/// assert_eq!((c.forward(), c.reverse(), c.best()), (2400, 2400, 500));       // row C16
/// assert_eq!(c.order(), "(D1 D2) (D3 D4)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    widths: Vec<u64>,
    /// `table[i][j]`: the least multiplications for `D_{i+1} ⋯ D_{j+1}`.
    table: Vec<Vec<u64>>,
    /// Where the best product is split.
    splits: Vec<Vec<usize>>,
}

/// Longer chains are refused: the table grows with the square, the work with the cube.
const LONGEST: usize = 300;

impl Chain {
    /// From the widths, `n₀` first.
    ///
    /// # Errors
    /// Fewer than two widths, one that is 0, too many, or a cost beyond 2⁶³: what to give instead.
    pub fn new(widths: &[u64]) -> Result<Self, String> {
        if !(2..=LONGEST).contains(&widths.len()) || widths.contains(&0) {
            return Err(format!(
                "expected from 2 to {LONGEST} widths of at least 1, such as 1,100,100; found {widths:?}"
            ));
        }
        let most = widths.iter().max().copied().unwrap_or(1);
        if most > 1 << 18 {
            return Err(format!("expected widths of at most {}, found {most}", 1 << 18));
        }
        let n = widths.len() - 1;
        let (mut table, mut splits) = (vec![vec![0u64; n]; n], vec![vec![0usize; n]; n]);
        for length in 2..=n {
            for i in 0..=n - length {
                let j = i + length - 1;
                let cost =
                    |s: usize| table[i][s] + table[s + 1][j] + widths[i] * widths[s + 1] * widths[j + 1];
                let best = (i..j).min_by_key(|s| cost(*s)).unwrap_or(i);
                (table[i][j], splits[i][j]) = (cost(best), best);
            }
        }
        Ok(Chain { widths: widths.to_vec(), table, splits })
    }

    /// The widths.
    pub fn widths(&self) -> &[u64] {
        &self.widths
    }

    /// The number of factors.
    pub fn factors(&self) -> usize {
        self.widths.len() - 1
    }

    /// Multiplications of `Df₁(Df₂(⋯(Df_{N−1}Df_N)))`: `Σ n_{i−1}·n_i·n_N` (row C14).
    pub fn forward(&self) -> u64 {
        let (w, n) = (&self.widths, self.factors());
        (1..n).map(|i| w[i - 1] * w[i] * w[n]).sum()
    }

    /// Multiplications of `((Df₁Df₂)Df₃)⋯Df_N`: `n₀·Σ n_i·n_{i+1}` (row C15).
    pub fn reverse(&self) -> u64 {
        let (w, n) = (&self.widths, self.factors());
        (1..n).map(|i| w[0] * w[i] * w[i + 1]).sum()
    }

    /// The fewest multiplications of any order, by dynamic programming.
    pub fn best(&self) -> u64 {
        self.table[0][self.factors() - 1]
    }

    /// The dynamic-programming table: `table()[i][j]` is for factors `i..=j`, counted from 0.
    pub fn table(&self) -> &[Vec<u64>] {
        &self.table
    }

    /// The best order, with brackets.
    pub fn order(&self) -> String {
        fn write(c: &Chain, i: usize, j: usize, outer: bool) -> String {
            if i == j {
                return format!("D{}", i + 1);
            }
            let s = c.splits[i][j];
            let text = format!("{} {}", write(c, i, s, false), write(c, s + 1, j, false));
            if outer { text } else { format!("({text})") }
        }
        write(self, 0, self.factors() - 1, true)
    }

    /// Every order and its cost, for at most eight factors; there are Catalan's number of them.
    pub fn all(&self) -> Vec<(String, u64)> {
        fn orders(c: &Chain, i: usize, j: usize) -> Vec<(String, u64)> {
            if i == j {
                return vec![(format!("D{}", i + 1), 0)];
            }
            let mut found = Vec::new();
            for s in i..j {
                let cost = c.widths[i] * c.widths[s + 1] * c.widths[j + 1];
                for (a, x) in orders(c, i, s) {
                    for (b, y) in orders(c, s + 1, j) {
                        found.push((format!("({a} {b})"), x + y + cost));
                    }
                }
            }
            found
        }
        match self.factors() {
            0..=8 => orders(self, 0, self.factors() - 1),
            _ => Vec::new(),
        }
    }
}
