// SPDX-License-Identifier: GPL-2.0-or-later
/* The driver of docs/drivers.md for the thermometer of docs/devices.md. It has a bug, which that text finds. */

#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>

#define CURRENT 0x00 /* degrees */
#define LIMIT 0x04   /* degrees above which it interrupts */
#define CLEAR 0x08   /* a write ends the interrupt */

struct thermo {
	void __iomem *registers;
	int irq;
	u32 limit;   /* degrees */
	u32 alarms;  /* interrupts so far */
	u32 hottest; /* degrees */
	const char *unit;
};

static int limit = 30;
module_param(limit, int, 0444);

static noinline void thermo_note(struct thermo *thermo, u32 degrees)
{
	if (degrees > thermo->hottest)
		thermo->hottest = degrees;
}

static irqreturn_t thermo_interrupt(int irq, void *data)
{
	struct thermo *thermo = data;

	thermo->alarms++;
	thermo_note(thermo, readl(thermo->registers + CURRENT));
	thermo->limit = thermo->hottest;
	writel(thermo->limit, thermo->registers + LIMIT);
	writel(1, thermo->registers + CLEAR);
	return IRQ_HANDLED;
}

static noinline int thermo_start(struct thermo *thermo, int limit)
{
	thermo->limit = limit;
	writel(limit - 30, thermo->registers + LIMIT); /* the bug: the device wants degrees, as they are */
	return 0;
}

static int thermo_probe(struct platform_device *device)
{
	struct thermo *thermo = devm_kzalloc(&device->dev, sizeof(*thermo), GFP_KERNEL);
	int error;

	if (!thermo)
		return -ENOMEM;
	thermo->registers = devm_platform_ioremap_resource(device, 0);
	if (IS_ERR(thermo->registers))
		return PTR_ERR(thermo->registers);
	if (device_property_read_string(&device->dev, "example,unit", &thermo->unit))
		return -EINVAL;
	thermo->irq = platform_get_irq(device, 0);
	if (thermo->irq < 0)
		return thermo->irq;
	error = devm_request_irq(&device->dev, thermo->irq, thermo_interrupt, 0, "thermo", thermo);
	return error ? error : thermo_start(thermo, limit);
}

static const struct of_device_id thermo_ids[] = {
	{.compatible = "example,thermometer"},
	{}
};
MODULE_DEVICE_TABLE(of, thermo_ids);

static struct platform_driver thermo_driver = {
	.probe = thermo_probe,
	.driver = {.name = "thermo", .of_match_table = thermo_ids},
};

static int __init thermo_init(void)
{
	return platform_driver_register(&thermo_driver);
}
module_init(thermo_init);

static void __exit thermo_exit(void)
{
	platform_driver_unregister(&thermo_driver);
}
module_exit(thermo_exit);

MODULE_DESCRIPTION("A driver of a thermometer");
MODULE_LICENSE("GPL");
