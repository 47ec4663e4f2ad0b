//! The grid of the paper's tables 5 and 6.

/// Modules of a BERT or RoBERTa that are adapted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// As the tables call them.
    pub name: &'static str,
    /// As the command line does.
    pub modules: &'static str,
}

const Q: Targets = Targets {
    name: "q",
    modules: "query",
};
const K: Targets = Targets {
    name: "k",
    modules: "key",
};
const V: Targets = Targets {
    name: "v",
    modules: "value",
};
const O: Targets = Targets {
    name: "o",
    modules: "attention.output.dense",
};
const QK: Targets = Targets {
    name: "q, k",
    modules: "query,key",
};
const QV: Targets = Targets {
    name: "q, v",
    modules: "query,value",
};
const ATTENTION: Targets = Targets {
    name: "q, k, v, o",
    modules: "query,key,value,attention.output.dense",
};
const ALL: Targets = Targets {
    name: "all linear",
    modules: "all-linear",
};

/// The same number of parameters on more or fewer kinds of weights (table 5).
pub const BUDGET: [(Targets, usize); 7] = [
    (Q, 8),
    (K, 8),
    (V, 8),
    (O, 8),
    (QK, 4),
    (QV, 4),
    (ATTENTION, 2),
];
/// The targets whose rank is varied (table 6, and all linear layers).
pub const VARIED: [Targets; 4] = [Q, QV, ATTENTION, ALL];
/// Their ranks.
pub const RANKS: [usize; 5] = [1, 2, 4, 8, 64];

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub targets: Targets,
    pub rank: usize,
    pub seed: u64,
}

impl Cell {
    /// The name of its folder.
    pub fn folder(&self) -> String {
        let targets = self.targets.name.replace(", ", "").replace(' ', "-");
        format!("{targets}-r{}-seed{}", self.rank, self.seed)
    }
}

/// Every run once, though some are in both tables.
pub fn cells(seeds: &[u64]) -> Vec<Cell> {
    let varied = VARIED
        .iter()
        .flat_map(|targets| RANKS.map(|rank| (*targets, rank)));
    let mut cells: Vec<Cell> = Vec::new();
    for (targets, rank) in BUDGET.into_iter().chain(varied) {
        for seed in seeds {
            let cell = Cell {
                targets,
                rank,
                seed: *seed,
            };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
    }
    cells
}
