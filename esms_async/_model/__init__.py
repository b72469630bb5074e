"""Values: messages, errors, codes, phones, texts. No I/O, and no clock but that of minted ids."""
