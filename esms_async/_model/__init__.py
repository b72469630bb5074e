"""Values: messages, errors, codes, phones, texts. No I/O, and no clock except for new ids."""
