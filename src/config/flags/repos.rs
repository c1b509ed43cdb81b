//! The flags that bound what a repo may cost.

use clap::Args;

/// What a repo may cost.
#[derive(Debug, Clone, Default, Args)]
pub struct RepoFlags {
    /// The largest repo that is fetched, decompressed
    ///
    /// A number with a unit: B, KiB, MiB or GiB; from 1MiB to 3GiB. A larger repo is not indexed, and /hosts says so. While
    /// they are verified, repos above 16 MiB lie in a file without a name beside the database: up to 4 GiB of disk for all.
    ///
    /// [environment: SIGNPOST_MAX_REPO_SIZE] [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_repo_size: Option<String>,

    /// The memory that all repos may take together while they are fetched and verified
    ///
    /// From 16MiB to 64GiB. Large repos queue for it, small ones pass them. One of 512 MiB needs about 60 MiB at most.
    ///
    /// [environment: SIGNPOST_REPO_MEMORY] [default: 96MiB]
    #[arg(long, value_name = "SIZE")]
    pub repo_memory: Option<String>,
}
