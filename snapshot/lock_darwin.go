package snapshot

// ofdSetLock is F_OFD_SETLK, which Apple's headers keep private: bsd/sys/fcntl.h in xnu.
const ofdSetLock = 90
