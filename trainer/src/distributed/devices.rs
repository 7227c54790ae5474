//! The devices of the ranks on one machine: `all`, `0,1`, `cpu:2`.

use std::str::FromStr;

use tch::{Cuda, Device};

/// Devices to train on, one rank each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// All CUDA devices, or the CPU if there are none.
    All,
    /// CUDA devices by their numbers.
    Cuda(Vec<usize>),
    /// This many ranks on the CPU, which divide its cores.
    Cpu(usize),
}

/// More ranks than any machine has use for.
const MOST_RANKS: usize = 1024;

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Devices, String> {
        let wanted = || format!("'{text}' is not all, numbers of CUDA devices such as 0,1, or cpu:RANKS such as cpu:2");
        if text == "all" {
            return Ok(Devices::All);
        }
        if let Some(count) = text.strip_prefix("cpu:") {
            let count = count.parse().map_err(|_| wanted())?;
            if !(1..=MOST_RANKS).contains(&count) {
                return Err(format!("'{text}' has {count} ranks; there may be 1 to {MOST_RANKS}"));
            }
            return Ok(Devices::Cpu(count));
        }
        let numbers = text.split(',').map(|number| number.parse().map_err(|_| wanted()));
        let numbers: Vec<usize> = numbers.collect::<Result<_, _>>()?;
        match numbers.iter().find(|number| numbers.iter().filter(|other| other == number).count() > 1) {
            Some(number) => Err(format!("'{text}' names the CUDA device {number} twice; a device has one rank")),
            None => Ok(Devices::Cuda(numbers)),
        }
    }
}

impl Devices {
    /// One device per rank; an error if this machine lacks one.
    pub fn list(&self) -> crate::error::Result<Vec<Device>> {
        let found = if Cuda::is_available() { Cuda::device_count().max(0) as usize } else { 0 };
        self.among(found)
    }

    /// As [`Devices::list`] on a machine with this many CUDA devices.
    fn among(&self, found: usize) -> crate::error::Result<Vec<Device>> {
        match self {
            Devices::All if found == 0 => Ok(vec![Device::Cpu]),
            Devices::All => Ok((0..found).map(Device::Cuda).collect()),
            Devices::Cpu(count) => Ok(vec![Device::Cpu; *count]),
            Devices::Cuda(numbers) => match numbers.iter().find(|number| **number >= found) {
                Some(number) => Err(crate::error::Error::new(format!(
                    "--devices: libtorch finds {found} CUDA devices, so number {number} does not exist; choose others, or \
                     cpu:RANKS"
                ))),
                None => Ok(numbers.iter().map(|number| Device::Cuda(*number)).collect()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        for (text, devices) in [
            ("all", Devices::All),
            ("0", Devices::Cuda(vec![0])),
            ("2,0", Devices::Cuda(vec![2, 0])),
            ("cpu:1", Devices::Cpu(1)),
            ("cpu:1024", Devices::Cpu(1024)),
        ] {
            assert_eq!(text.parse(), Ok(devices), "{text}");
        }
        for text in ["", "ALL", "cpu", "cpu:", "cpu:0", "cpu:1025", "cpu:-1", "0,", "0,0", "-1", "0 1", "cuda:0"] {
            assert!(text.parse::<Devices>().is_err_and(|error| error.contains(text)), "{text}");
        }
    }

    #[test]
    fn devices_exist() {
        assert_eq!(Devices::All.among(0).unwrap(), [Device::Cpu]);
        assert_eq!(Devices::All.among(2).unwrap(), [Device::Cuda(0), Device::Cuda(1)]);
        assert_eq!(Devices::Cpu(2).among(0).unwrap(), [Device::Cpu; 2]);
        assert_eq!(Devices::Cuda(vec![1, 0]).among(2).unwrap(), [Device::Cuda(1), Device::Cuda(0)]);
        let error = Devices::Cuda(vec![0, 2]).among(2).unwrap_err().to_string();
        assert!(error.contains("2 CUDA devices, so number 2 does not exist"), "{error}");
    }
}
