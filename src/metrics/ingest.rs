//! What the kernel dropped before ingest could read it, read from the kernel at each scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::counter::ConstCounter;

/// The drops of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDrops {
    /// Where the socket is bound.
    pub address: String,
    /// Datagrams dropped since then.
    pub dropped: u64,
}

/// Reads the sockets' counts.
pub(super) struct IngestCollector {
    pub(super) drops: Box<dyn Fn() -> Vec<KernelDrops> + Send + Sync>,
}

impl fmt::Debug for IngestCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IngestCollector")
    }
}

#[derive(Debug, EncodeLabelSet)]
struct ByAddress {
    address: String,
}

impl Collector for IngestCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("pillion_ingest_kernel_drops", "Datagrams the kernel dropped unread, by address");
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for KernelDrops { address, dropped } in (self.drops)() {
            ConstCounter::new(dropped).encode(family.encode_family(&ByAddress { address })?)?;
        }
        Ok(())
    }
}
