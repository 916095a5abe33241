package chain

// LossOf is what [Explain] rests on.
var LossOf = lossOf
