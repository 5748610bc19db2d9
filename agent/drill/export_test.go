package drill

// Pause is the time between two looks at whether a server answers.
var Pause = &pause
