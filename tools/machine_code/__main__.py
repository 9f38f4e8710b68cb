from machine_code.count import main

raise SystemExit(main())
