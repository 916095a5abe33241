package upload

var ErrMemory = errMemory
