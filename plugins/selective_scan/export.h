// Marks exported functions; all other symbols are hidden.
#pragma once

#define VIM_EXPORT __attribute__((visibility("default")))
