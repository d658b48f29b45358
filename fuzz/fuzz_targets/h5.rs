#![no_main]
dermal_fuzz::target!(h5);
