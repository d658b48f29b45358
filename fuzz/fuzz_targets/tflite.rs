#![no_main]
dermal_fuzz::target!(tflite);
