package retention

// CheckStays is for the model.
var CheckStays = checkStays
