// Marks the few functions that the library shows; everything else is built hidden.
#pragma once

#define VIM_EXPORT __attribute__((visibility("default")))
